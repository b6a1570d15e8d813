"""Lab 2, a serial port: a UART in Python, by which a guest prints and receives."""

from __future__ import annotations
