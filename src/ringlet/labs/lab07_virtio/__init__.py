"""Lab 7, virtio: a disk in Python, its registers and its queue, for a driver in a guest."""

from __future__ import annotations
