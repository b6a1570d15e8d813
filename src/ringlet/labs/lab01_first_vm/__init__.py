"""Lab 1, a VM in forty lines of Python: KVM by its bare system calls."""

from __future__ import annotations
