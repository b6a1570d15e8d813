"""Lab 8, a container by hand: namespaces, a root of its own, and rights given up."""

from __future__ import annotations
