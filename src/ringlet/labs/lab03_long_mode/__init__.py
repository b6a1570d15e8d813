"""Lab 3, from real mode to long mode: a guest that turns on what a 64-bit kernel needs."""

from __future__ import annotations
