"""Reads the results of a run of the workload: lines of NAME=NUMBER (guests/README.md)."""

from __future__ import annotations

import os
import re
from contextlib import closing

from ringlet.compare.instances import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.compare.instances import Request
    from ringlet.compare.ways import Way

_PAIR = re.compile(r"([a-z]+)=(\d{1,20})")


def numbers(line: str) -> dict[str, int]:
    """Returns the numbers of the line's words NAME=NUMBER, by their names."""
    pairs = (_PAIR.fullmatch(word) for word in line.split())
    return {pair[1]: int(pair[2]) for pair in pairs if pair is not None}


def outcomes(way: Way, request: Request, count: int) -> list[dict[str, int]]:
    """Runs the workload's actions, and returns the numbers of the `count` lines after the first.

    The workload is launched from this process if the way can do so: the workload measures the same
    numbers, and starts faster. Raises `Unavailable`, with the reason if an action failed.
    """
    try:
        instance = way.launch(request)
    except Unavailable:
        instance = way.spawn(request)
    with closing(instance):
        lines = [instance.read_line()[1] for _ in range(count + 1)][1:]
        status = instance.wait()
    found = [numbers(line) for line in lines]
    for line, result in zip(lines, found, strict=True):
        if result.get("error"):
            raise Unavailable(f"the workload failed: {os.strerror(result['error'])}", "try it")
        if not result:
            raise Unavailable(f"the workload said {line!r}", "try it")
    if status:
        raise Unavailable(f"the workload ended with status {status}", "try it")
    return found


def value(outcome: dict[str, int], name: str) -> int:
    """Returns the number `name`. Raises `Unavailable` if there is none."""
    if name not in outcome:
        raise Unavailable(f"the workload told no {name}", "try it")
    return outcome[name]
