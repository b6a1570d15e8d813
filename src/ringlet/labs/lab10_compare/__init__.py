"""Lab 10, VM or container: the usual claims, predicted, measured and judged by rules."""

from __future__ import annotations
