"""Finds the descendants of processes, in /proc."""

from __future__ import annotations

import os
from contextlib import suppress

from ringlet.host.process_stat import read_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def tree(roots: Iterable[int]) -> list[int]:
    """Returns the processes `roots` and all their descendants, without those that have ended."""
    return [pid for pid, _ in _family(roots)]


def leaves(roots: Iterable[int]) -> set[int]:
    """Returns the processes of `tree` that have no child."""
    family = _family(roots)
    return {pid for pid, _ in family} - {parent for _, parent in family}


def _family(roots: Iterable[int]) -> list[tuple[int, int]]:
    """Returns each process of `tree`, and its parent."""
    children: dict[int, list[int]] = {}
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):  # the process has ended
                state, parent = read_stat(name)[:2]
                if state not in b"ZX":
                    parents[int(name)] = int(parent)
                    children.setdefault(int(parent), []).append(int(name))
    found = [(root, parents[root]) for root in roots if root in parents]
    for pid, _ in found:
        found += [(child, pid) for child in children.get(pid, ()) if child not in roots]
    return found
