"""What a run of the workload tells: the numbers of its lines NAME=VALUE (guests/README.md)."""

from __future__ import annotations

import os
import re
from contextlib import closing

from ringlet.compare.ways import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.compare.ways import Request, Way

_PAIR = re.compile(r"([a-z]+)=(\d{1,20})")


def numbers(line: str) -> dict[str, int]:
    """Its words NAME=NUMBER, by their names."""
    pairs = (_PAIR.fullmatch(word) for word in line.split())
    return {pair[1]: int(pair[2]) for pair in pairs if pair is not None}


def outcomes(way: Way, request: Request, count: int) -> list[dict[str, int]]:
    """Runs its actions and has the numbers of the `count` lines behind the first.

    It is run from this process where that can be done: what the workload measures by itself is
    the same then, and found sooner. Raises `Unavailable`, with the reason of an action that failed.
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
    """One of them. Raises `Unavailable` where there is none."""
    if name not in outcome:
        raise Unavailable(f"the workload told no {name}", "try it")
    return outcome[name]
