"""Makes the sentences about a whole report: the verdict, and the warnings."""

from __future__ import annotations

from math import inf

from ringlet.compare.report import Cell
from ringlet.compare.sentences import called, capital, joined, times
from ringlet.compare.statistics import ENOUGH, are_apart
from ringlet.compare.ways import DEFAULT
from ringlet.compare.words import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.compare.report import Report

_NEAR = 0.1  # a smaller difference counts as none if it is within the spread
_BUSY, _STEAL = 0.15, 0.02  # of each processor; with more, the numbers are noisy
_ASPECTS = {
    "inside-end": "to start from a running program",
    "loop": "to compute",
    "system-call": "for a system call",
}


def verdict(report: Report) -> str:
    """Returns the main result in one sentence: ringlet's own ways compared with the first way.

    The first way is the process, if it was measured. The sentence is empty if too little is known.
    """
    ways = [way.name for way in report.ways if way.name in DEFAULT and way.error is None]
    rows = {row.name: row.ways for row in report.measures}
    found: dict[str, dict[str, str]] = {}
    for name, aspect in _ASPECTS.items():
        cells = {way: rows.get(name, {}).get(way, Cell()) for way in ways}
        for way in ways[1:]:
            if (ratio := _ratio(cells[way], cells[ways[0]])) is not None:
                found.setdefault(way, {})[aspect] = ratio
    parts: list[str] = []
    told: list[str] = []
    for way, ratios in found.items():
        if list(ratios) == told:  # the way before has named the same aspects
            parts.append(f"{called(way)} takes {joined(list(ratios.values()))} as long")
        else:
            each = [f"{ratio} as long {aspect}" for aspect, ratio in ratios.items()]
            parts.append(f"{called(way)} takes {joined(each)}")
        told = list(ratios)
    return f"Beside {called(ways[0])}, {'; '.join(parts)}." if parts else ""


def _ratio(cell: Cell, base: Cell) -> str | None:
    """Returns `1.26x`, or `about 1x` for nearly 1; None if the samples don't support a ratio."""
    if not cell.median or not base.median or not 0 < cell.median / base.median < inf:
        return None
    ratio = cell.median / base.median
    if are_apart(cell.samples, base.samples):
        return times(ratio)
    enough = min(len(cell.samples), len(base.samples)) >= ENOUGH
    return "about 1x" if enough and abs(ratio - 1) < _NEAR else None


def ratio_to(cell: Cell, base: Cell | None) -> str:
    """Returns the ratio of a cell's median to the base's; empty if the samples don't support it."""
    found = None if base is None or base is cell else _ratio(cell, base)
    return "" if found is None or found.startswith("about") else found


def incomplete(report: Report) -> str:
    """Returns why the report is incomplete, or an empty text if it is complete."""
    if report.complete:
        return ""
    return {
        "interrupted": "It was interrupted: not all is measured.",
        "time": "The time was too short to measure all: --seconds gives it more.",
    }.get(report.stopped, "It was interrupted, or ran out of time: not all is measured.")


def disturbed(report: Report) -> str:
    """Returns a warning if other work on the host was enough to affect the numbers, else ""."""
    others, count = report.others, max(report.host.processors, 1)
    if others is None:
        return ""
    found = []
    if others.busy > _BUSY * count:
        found.append(f"other work kept {number(others.busy, 2)} of {count} processors busy")
    if others.steal > _STEAL * count:
        found.append(
            f"the hypervisor below took away {number(others.steal, 2)} of {count} processors "
            "(steal time)"
        )
    if not found:
        return ""
    load = f"the load average before was {number(others.load, 2)}"
    return capital(f"{joined(found)} while this was measured, and {load}: the numbers are noisy.")
