"""Grades a student's work in an emulated machine, for hosts without the KVM that the checks need.

One machine serves all checks. In there, the same grader runs the same checks on the same files, and
what it finds comes back as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys

from ringlet.errors import RingletError
from ringlet.host import interrupt
from ringlet.host.printable import printable
from ringlet.labs.check import Verdict
from ringlet.labs.grade import NESTED, Grades

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from ringlet.labs.catalog import Lab

_RINGLET = (sys.executable, "-c", "from ringlet.cli import main; main()")
_SECONDS = "600"  # a machine that hangs ends


def grade_nested(lab: Lab, folder: Path) -> Grades:
    """Runs all checks of `lab` on the work in `folder`, in one emulated machine.

    Raises `RingletError` if the machine can't be had, or if the grader in there can't judge.
    """
    machine = [*_RINGLET, "nested", "--timeout", _SECONDS, "--"]
    done = subprocess.run(
        [*machine, *_RINGLET, "lab", "check", "--json", "--on", "here"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    interrupt.check()
    try:
        found = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.decode(errors="replace").splitlines() or [f"status {done.returncode}"]
        raise RingletError(
            f"the emulated machine gave no grades: {printable(said[0].removeprefix('ringlet: '))}",
            "try it alone: ringlet nested -- ringlet doctor; once: ringlet nested --setup",
        ) from None
    if "error" in found:
        raise RingletError(found["error"], found["hint"])
    verdicts = [
        Verdict(**{field: one[field] for field in Verdict._fields}) for one in found["checks"]
    ]
    return Grades(lab.number, lab.title, lab.version, NESTED, verdicts, found["notes"])
