"""Lab 12, a VMM that boots Linux: the student's own loader and devices, until init runs."""

from __future__ import annotations
