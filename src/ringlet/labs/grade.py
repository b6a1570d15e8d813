"""Grades a student's work: runs the checks of a lab, one after another."""

from __future__ import annotations

import os
import shutil
import time
from typing import NamedTuple

from ringlet.errors import ConfigError, RingletError
from ringlet.host import interrupt
from ringlet.kvm.system import System
from ringlet.labs.check import HARDWARE_KVM, NO_KVM, Failed, Verdict
from ringlet.labs.program import PYTHON, Program, require_python
from ringlet.labs.work import Work, read_files
from ringlet.machine.probe import unsupported_instruction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ringlet.labs.catalog import Lab
    from ringlet.labs.check import Check

NATIVE, NESTED = "this host", "an emulated machine with a hardware KVM"

# A program has `_PATIENCE` seconds for one check, or `_STARTS` times what Python takes to start: on
# this host a check takes a tenth of a second, in an emulated machine much longer. What hangs once
# hangs again. So then it has a third: a student waits for less than ten seconds.
_PATIENCE, _STARTS, _LESS = 3.0, 10, 3
_FIRST_START = 60.0  # seconds: Python may come from a slow disk


class Grades(NamedTuple):
    """All verdicts on one student's work.

    where   the KVM that the checks ran on
    notes   the limits that could not be set on this host
    """

    lab: int
    title: str
    version: int
    where: str
    verdicts: list[Verdict]
    notes: list[str]

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


def why_not_here(lab: Lab) -> str | None:
    """Returns why this host can't run the checks of `lab`, as a sentence; None if it can."""
    needed = {check.kvm for check in lab.checks()} - {NO_KVM}
    if needed and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "you may not open /dev/kvm here"
    if HARDWARE_KVM in needed:
        with System() as system:
            instruction = unsupported_instruction(system)
        if instruction is not None:
            return "this host's KVM emulates ring 0, and a check needs a hardware KVM"
    try:
        _patience()
    except RingletError as error:
        return f"no container can be made here ({error.message})"
    return None


def grade(lab: Lab, folder: Path, on_check: Callable[[Check], object]) -> Grades:
    """Runs all checks of `lab` on the work in `folder`. `on_check` is told of each before it runs.

    Raises `RingletError` if the work can't be judged: files or programs are missing.
    """
    files = read_files(folder, lab.files)
    checks = lab.checks()
    _require_host(lab, needs_kvm=any(check.kvm != NO_KVM for check in checks))
    with Work(files, _patience()) as work:
        verdicts, patience = [], work.patience
        for check in checks:
            interrupt.check()
            on_check(check)
            begun = time.monotonic()
            verdicts.append(_judge(check, work))
            if not verdicts[-1].passed and time.monotonic() - begun >= work.patience:
                work.patience = patience / _LESS
        return Grades(lab.number, lab.title, lab.version, NATIVE, verdicts, work.notes)


def _patience() -> float:
    begun = time.monotonic()
    with Program({}, [PYTHON, "-c", ""], kvm=False, seconds=_FIRST_START) as program:
        program.end_input()
        program.finish()
    return max(_PATIENCE, _STARTS * (time.monotonic() - begun))


def _require_host(lab: Lab, *, needs_kvm: bool) -> None:
    require_python()
    for program in lab.programs:
        if shutil.which(program) is None:
            raise ConfigError(
                f"there is no {program}, which lab {lab.number} needs", f"apt install {program}"
            )
    if needs_kvm and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise RingletError(
            f"lab {lab.number} needs /dev/kvm, which you may not open here",
            "`ringlet doctor` says what to do about it; --on nested grades in an emulated machine",
        )


def _judge(check: Check, work: Work) -> Verdict:
    try:
        seen, hint, passed = check.judge(work), "", True
    except Failed as failed:
        seen, hint, passed = failed.seen, failed.hint or check.hint, False
    return Verdict(check.name, check.step, check.points, passed, check.expected, seen, hint)
