"""Grades a student's work: runs the checks of a lab, one after another, on this host."""

from __future__ import annotations

import time
from typing import NamedTuple

from ringlet.errors import RingletError
from ringlet.host import interrupt
from ringlet.host.printable import printable
from ringlet.labs.check import Failed, Verdict
from ringlet.labs.host import Host, require_programs
from ringlet.labs.work import Work, read_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ringlet.labs.catalog import Lab
    from ringlet.labs.check import Check

NATIVE = "this host"
UNEXPECTED = "the check can't tell, since something unexpected was there"
_LESS = 3  # what hangs once hangs again, so then a program has a third of the time
_MOST_SEEN = 300  # characters of what was seen


class Grades(NamedTuple):
    """All verdicts on one student's work.

    notes   the limits that could not be set on this host
    """

    lab: int
    title: str
    version: int
    verdicts: list[Verdict]
    notes: list[str]

    @property
    def where(self) -> str:
        """Where the checks ran: the host, the emulated machine, or both."""
        return " and ".join(dict.fromkeys(verdict.where for verdict in self.verdicts))

    @property
    def earned(self) -> int:
        """The points that the student gets."""
        return sum(verdict.earned for verdict in self.verdicts)

    @property
    def points(self) -> int:
        """The points that there are."""
        return sum(verdict.points for verdict in self.verdicts)

    @property
    def passed(self) -> bool:
        """Whether all requirements are met."""
        return all(verdict.passed for verdict in self.verdicts)


def grade(lab: Lab, folder: Path, on_check: Callable[[Check], object]) -> Grades:
    """Runs all checks of `lab` on the work in `folder`. `on_check` is told of each before it runs.

    Raises `RingletError` if the work can't be judged: files or programs are missing, or this host
    lacks what a check needs.
    """
    require_programs(lab)
    files = read_files(folder, lab.files)
    checks = lab.checks()
    notes: list[str] = []
    found = judge(
        dict(enumerate(checks)), files, Host(), lambda number: on_check(checks[number]), notes
    )
    return Grades(lab.number, lab.title, lab.version, [verdict for _, verdict in found], notes)


def judge(
    checks: Mapping[int, Check],
    files: Mapping[str, bytes],
    host: Host,
    on_check: Callable[[int], object],
    notes: list[str],
) -> Iterator[tuple[int, Verdict]]:
    """Runs `checks` on a student's files. Yields each check's number with its verdict.

    `on_check` is told the number of each before it runs. The limits that aren't set on this host
    are added to `notes`. Raises `RingletError` if the host lacks what a check needs.
    """
    for check in checks.values():
        why = host.why_not(check)
        if why is not None:
            raise RingletError(
                f"the check '{check.name}' can't run here: {why}",
                "--on nested grades in an emulated machine; `ringlet doctor` says more",
            )
    with Work(files, host.patience) as work:
        for number, check in checks.items():
            interrupt.check()
            on_check(number)
            begun = time.monotonic()
            verdict = _judge(check, work)
            if not verdict.passed and time.monotonic() - begun >= work.patience:
                work.patience = host.patience / _LESS
            yield number, verdict
        notes += [note for note in work.notes if note not in notes]


def _judge(check: Check, work: Work) -> Verdict:
    try:
        seen, hint, passed = check.judge(work), "", True
    except Failed as failed:
        seen, hint, passed = failed.seen, failed.hint or check.hint, False
    except (OSError, LookupError, ValueError) as error:
        # What is looked at belongs to the student, and may change under the grader's eyes.
        seen, hint, passed = f"{UNEXPECTED}: {error!r}", check.hint, False
    seen = printable(seen, _MOST_SEEN)
    return Verdict(check.name, check.step, check.points, passed, check.expected, seen, hint, NATIVE)
