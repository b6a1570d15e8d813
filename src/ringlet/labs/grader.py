"""Grades works, one after another: each check where it can run.

A check runs on this host if the host has what the check needs. All other checks, of all works, run
in one emulated machine, which starts when the first of these checks is due.
"""

from __future__ import annotations

from ringlet.closing import Closing
from ringlet.labs.grade import Grades, judge
from ringlet.labs.host import Host, require_programs
from ringlet.labs.nested import Machine, MachineLostError
from ringlet.labs.work import read_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ringlet.labs.catalog import Lab
    from ringlet.labs.check import Check, Verdict

AUTO, HERE, IN_MACHINE = "auto", "here", "nested"


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
        here = [number for number, check in enumerate(checks) if self._runs_here(check)]
        there = [number for number in range(len(checks)) if number not in here]
        count = 0

        def say_which(check: Check) -> None:
            nonlocal count
            count += 1
            self._say(f"{count}/{len(checks)} {check.name}")

        verdicts: dict[int, Verdict] = {}
        notes: list[str] = []
        if here:
            found, notes = judge([checks[n] for n in here], files, self._host, say_which)
            verdicts.update(zip(here, found, strict=True))
        if there:
            if self._machine is None:
                self._machine = Machine(self._say)
            try:
                found, more = self._machine.judge(lab, there, files, say_which)
            except MachineLostError:  # the next work gets another
                self.close()
                raise
            verdicts.update(zip(there, found, strict=True))
            notes += [note for note in more if note not in notes]
        ordered = [verdicts[number] for number in range(len(checks))]
        return Grades(lab.number, lab.title, lab.version, ordered, notes)

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
