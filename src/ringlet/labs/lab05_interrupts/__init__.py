"""Lab 5, interrupts and time: a guest whose timer wakes it up."""

from __future__ import annotations
