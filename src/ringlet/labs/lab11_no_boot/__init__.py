"""Lab 11, a kernel that doesn't boot: four faults, to be found with a tracer and a debugger."""

from __future__ import annotations
