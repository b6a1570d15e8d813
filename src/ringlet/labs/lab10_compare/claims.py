"""The claims of lab 10, and the rule that judges them by a report of `ringlet compare`.

A rule compares the samples of two cells, and no number is expected: what is so on one machine may
be otherwise on another.
"""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ringlet.compare.report import Report

HOLDS, FAILS, UNCLEAR = "holds", "fails", "unclear"
ENOUGH = 3  # samples of each cell
UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "MiB": 1.0}


class Cell(NamedTuple):
    """The place of a cell in a report."""

    row: str
    way: str


class Claim(NamedTuple):
    """A claim about VMs or containers.

    The rule says whether `one` is more than `factor` times `other`. `if_more` is the verdict if so.
    A claim without a factor is about texts: it holds if the two cells have the same text.
    """

    one: Cell
    other: Cell
    factor: float
    if_more: str
    reason: str  # why it is so


CLAIMS = {
    "computes": Claim(Cell("loop", "tiny-vm"), Cell("loop", "process"), 1.1, HOLDS, "itself"),
    "starts": Claim(
        Cell("inside-first-instruction", "tiny-vm"),
        Cell("inside-first-instruction", "container"),
        1.0,
        HOLDS,
        "preparation",
    ),
    "calls": Claim(
        Cell("system-call", "container"), Cell("system-call", "process"), 1.05, FAILS, "filter"
    ),
    "exits": Claim(Cell("exit", "tiny-vm"), Cell("system-call", "process"), 10.0, HOLDS, "leaves"),
    "memory": Claim(Cell("used", "tiny-vm"), Cell("idle", "tiny-vm"), 1.5, FAILS, "touched"),
    "kernel": Claim(Cell("kernel", "container"), Cell("kernel", "process"), 0, HOLDS, "shown"),
}


def verdicts(report: Report) -> dict[str, str]:
    """Returns the verdict on each claim, by its name."""
    return {name: _judge(claim, report) for name, claim in CLAIMS.items()}


def _judge(claim: Claim, report: Report) -> str:
    rows = {measure.name: measure for measure in report.measures}
    one, other = (
        rows[place.row].ways.get(place.way) if place.row in rows else None
        for place in (claim.one, claim.other)
    )
    if one is None or other is None:
        return UNCLEAR
    if claim.factor == 0:
        if one.text is None or other.text is None:
            return UNCLEAR
        return HOLDS if one.text == other.text else FAILS
    if min(len(one.samples), len(other.samples)) < ENOUGH:
        return UNCLEAR
    low, high = middle(one.samples, UNITS[rows[claim.one.row].unit])
    other_low, other_high = middle(other.samples, UNITS[rows[claim.other.row].unit])
    if low > claim.factor * other_high:
        return claim.if_more
    if high < claim.factor * other_low:
        return HOLDS if claim.if_more == FAILS else FAILS
    return UNCLEAR


def middle(samples: Sequence[float], unit: float) -> tuple[float, float]:
    """Returns the smallest and the largest sample without a quarter of the samples at each end."""
    ordered = sorted(samples)
    drop = len(ordered) // 4
    rest = ordered[drop : len(ordered) - drop]
    return rest[0] * unit, rest[-1] * unit


def needed() -> Mapping[str, set[str]]:
    """Returns the rows that the claims need, and of each row the ways."""
    rows: dict[str, set[str]] = {}
    for claim in CLAIMS.values():
        for place in (claim.one, claim.other):
            rows.setdefault(place.row, set()).add(place.way)
    return rows
