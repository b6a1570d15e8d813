"""Measures how fast the workload computes: the same machine code for each way."""

from __future__ import annotations

import shlex
import subprocess

from ringlet.compare.instances import Request, Unavailable
from ringlet.compare.instances.work_output import numbers, outcomes, value
from ringlet.compare.measures import Found, Row
from ringlet.compare.sentences import BASE, called, capital, compare, joined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringlet.compare.lab import Lab
    from ringlet.compare.ways import Way

_STEPS, _NUMBERS, _KIB = 20_000_000, 200_000, 16_384
_REQUEST = Request(["loop", str(_STEPS), "sort", str(_NUMBERS), "hash", str(_KIB)])
_EQUAL = 0.03  # a smaller difference counts as none

_COUNTED = "In cycles of the time-stamp counter, which the workload counts itself: "


class Measure:
    """The time of computations in milliseconds. All ways must compute the same result."""

    name = "processor"
    group = "processor"
    rounds = None
    seconds = 0.5

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._expected: list[int] | None = None
        self.rows = (
            _row("loop", f"a loop of {_STEPS:,} steps", "a multiplication and an addition a step, "
                 "of the last one's outcome: nothing but the processor"),
            _row("sort", f"sorting {_NUMBERS:,} numbers", "in a heap of 1.6 MB: caches, and the "
                 "page tables of host and guest"),
            _row("hash", f"hashing {_KIB >> 10} MiB", "by FNV-1a, byte by byte: memory, in order"),
        )  # fmt: skip

    def sample(self, way: Way) -> Mapping[str, Found | Exception]:
        """Runs the workload once for all three rows."""
        command = shlex.join(way.command(_REQUEST))
        results = outcomes(way, _REQUEST, len(self.rows))
        checks = [value(result, "check") for result in results]
        if self._expected is None:
            self._expected = self._outcome_of_program()
        if checks != self._expected:
            raise Unavailable("its outcome is another than the program's", f"try it: {command}")
        return {
            row.name: Found(value(result, "cycles") / self._lab.tsc_hz * 1e3, command=command)
            for row, result in zip(self.rows, results, strict=True)
        }

    def _outcome_of_program(self) -> list[int]:
        done = subprocess.run(
            [self._lab.work, *_REQUEST.words], capture_output=True, text=True, check=True
        )
        return [value(numbers(line), "check") for line in done.stdout.splitlines()[1:]]


def _row(name: str, title: str, what: str) -> Row:
    return Row(
        name,
        title,
        "ms",
        "lower",
        f"{_COUNTED}{what}.",
        lambda medians: _meaning(medians, title),
    )


def _meaning(medians: Mapping[str, float], title: str) -> str:
    base = medians.get(BASE)
    others = {name: median for name, median in medians.items() if name != BASE}
    if not base or not others:
        return compare(medians, "ms", title)
    if all(abs(median / base - 1) < _EQUAL for median in others.values()):
        names = joined([called(name) for name in others])
        return capital(f"{title} takes as long in {names} as in the process, within {_EQUAL:.0%}.")
    return compare(medians, "ms", title)
