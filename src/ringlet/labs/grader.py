"""Grades works, one after another: each check where it can run.

A check runs on this host if the host has what the check needs. All other checks, of all works, run
in one emulated machine, which starts when the first of these checks is due.
"""

from __future__ import annotations

from ringlet.closing import Closing
from ringlet.labs.check import Verdict
from ringlet.labs.grade import Grades, judge
from ringlet.labs.host import Host, require_programs
from ringlet.labs.nested import NESTED, Machine, MachineLostError
from ringlet.labs.work import read_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ringlet.labs.catalog import Lab
    from ringlet.labs.check import Check

AUTO, HERE, IN_MACHINE = "auto", "here", "nested"
_LOSSES = 2  # so many emulated machines may a work bring down: then its other checks fail, too


class Grader(Closing):
    """A run of the grader: a context manager, which ends the emulated machine.

    `on` says where the checks run: AUTO, HERE or IN_MACHINE. `say` is told what goes on, and `note`
    why an emulated machine is needed.
    """

    def __init__(
        self, on: str, say: Callable[[str], object], note: Callable[[str], object]
    ) -> None:
        self._on = on
        self._say = say
        self._note = note
        self._host = Host()
        self._machine: Machine | None = None
        self._noted: set[str] = set()

    def grade(self, lab: Lab, folder: Path) -> Grades:
        """Runs the checks of `lab` on the work in `folder`.

        Raises `RingletError` if the work can't be judged: a file or a program is missing, or the
        emulated machine.
        """
        checks = lab.checks()
        require_programs(lab)
        files = read_files(folder, lab.files)
        here = {number: check for number, check in enumerate(checks) if self._runs_here(check)}
        there = [number for number in range(len(checks)) if number not in here]
        verdicts: dict[int, Verdict] = {}
        notes: list[str] = []
        last = -1

        def on_check(number: int) -> None:
            nonlocal last
            last = number
            self._say(f"{len(verdicts) + 1}/{len(checks)} {checks[number].name}")

        if here:
            verdicts.update(judge(here, files, self._host, on_check, notes))
        losses = 0
        while left := [number for number in there if number not in verdicts]:
            machine, last = self._running_machine(), -1
            try:
                for number, verdict in machine.judge(lab, left, files, on_check, notes):
                    verdicts[number] = verdict
            except MachineLostError:
                self.close()
                if last < 0:  # it isn't the student's doing
                    raise
                losses += 1
                for number in left if losses == _LOSSES else [last]:
                    verdicts.setdefault(number, _lost(checks[number]))
        ordered = [verdicts[number] for number in range(len(checks))]
        return Grades(lab.number, lab.title, lab.version, ordered, notes)

    def _running_machine(self) -> Machine:
        if self._machine is None:
            self._machine = Machine(self._say)
        return self._machine

    def _runs_here(self, check: Check) -> bool:
        if self._on != AUTO:
            return self._on == HERE
        why = self._host.why_not(check)
        if why is not None and why not in self._noted:
            self._noted.add(why)
            self._note(f"{why}; an emulated machine checks instead")
        return why is None

    def close(self) -> None:
        """Ends the emulated machine, if there is one."""
        if self._machine is not None:
            self._machine.close()
            self._machine = None


def _lost(check: Check) -> Verdict:
    """Returns the verdict on a work that has brought down the emulated machine."""
    seen = "the emulated machine stopped at this check, or at one before"
    return Verdict(
        *(check.name, check.step, check.points, False, check.expected, seen, check.hint, NESTED)
    )
