"""Lab 9, break out: an open container, escaped from and then closed; and the same against a VM."""

from __future__ import annotations
