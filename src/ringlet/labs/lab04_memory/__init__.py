"""Lab 4, memory: a guest that gives its pages on demand, and the same memory seen from the host."""

from __future__ import annotations
