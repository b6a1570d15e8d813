"""Makes the report of this machine, which a solution of lab 10 needs, once for all solutions."""

import functools
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from ringlet.compare.report import read, to_json

MEASURES = ("startup", "memory", "processor", "exits", "isolation")
RINGLET = (sys.executable, "-c", "from ringlet.cli import main; main()")
FEW = ("--runs", "3", "--instances", "2", "--seconds", "400")


@functools.cache
def _report() -> bytes:
    measures = [word for name in MEASURES for word in ("--measure", name)]
    ways = ("--ways", "process,container,tiny-vm")
    done = subprocess.run(
        [*RINGLET, "compare", *ways, *measures, *FEW, "--json"], capture_output=True, check=True
    )
    return done.stdout


def add(folder: Path, name: str) -> None:
    """Adds the report, and the verdicts that follow from it, to the solution `name`."""
    if name in ("starter", "says_what_everybody_says_without_a_report"):
        return
    path = folder / "report.json"
    path.write_bytes(_report())
    with tempfile.TemporaryDirectory() as other:  # judge.py may be wrong: the reference's
        judge = Path(__file__).parent / "reference" / "judge.py"
        command = [sys.executable, str(judge), str(path)]
        done = subprocess.run(command, cwd=other, capture_output=True, check=True, text=True)
    answers = folder / "answers.toml"
    verdicts = dict(line.split(": ") for line in done.stdout.splitlines())
    answers.write_text(
        re.sub("VERDICT of ([a-z]+)", lambda found: verdicts[found[1]], answers.read_text())
    )
    report = read(str(path))
    if name == "edits_the_samples_that_it_does_not_like":
        (row,) = (row for row in report.measures if row.name == "sort")
        row.ways["tiny-vm"].samples[0] *= 100
        row.ways["tiny-vm"].samples[1] *= 100
    elif name == "hands_in_a_report_that_was_stopped":
        report.complete = False
    elif name == "hands_in_a_report_of_another_ringlet":
        report.host.versions["ringlet"] = "0.0.1"
    path.write_bytes(to_json(report))
