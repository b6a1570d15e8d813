"""`ringlet lab`: begins labs, shows their texts, and grades a student's work."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ringlet.cli.answer import print_json
from ringlet.errors import ConfigError, RingletError
from ringlet.host import interrupt
from ringlet.labs.catalog import find_lab, labs
from ringlet.labs.folder import find_folder, reset, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.labs.catalog import Lab
    from ringlet.labs.check import Check, Verdict
    from ringlet.labs.grade import Grades

NOT_PASSED = 1
_WIDTH = 100  # columns of a text that doesn't go to a terminal

EPILOG = """\b
Examples:
  ringlet lab list                    the labs, each with its number
  ringlet lab start 1                 makes the folder lab1 with the starter files
  ringlet lab show 1 | less -R        the text: what to do, and why
  cd lab1; ringlet lab check          grades what is in this folder
"""
CHECK_EPILOG = """\b
Examples:
  ringlet lab check                   in the folder of a lab
  ringlet lab check 1 --json | jq .earned
  ringlet lab check --gradescope /autograder/results/results.json

\b
Your code runs in a container: without a network, with limits on time, memory, processes and output.
Your files stay as they are.

\b
Status: 0 if all checks passed; 1 if not; 125 if nothing could be graded.
"""


@click.group("lab", epilog=EPILOG)
def command() -> None:
    """Learn how VMs and containers work: exercises, and a grader that looks at the machine."""


@command.command("list")
def list_() -> None:
    """List the labs: number, title, and the time that it takes."""
    for lab in labs():
        click.echo(f"{lab.number:>3}  {lab.title} ({_time(lab.minutes)})")


@command.command("start")
@click.argument("number", type=int)
@click.argument("folder", required=False, type=click.Path(path_type=Path))
def start_(number: int, folder: Path | None) -> None:
    """Make FOLDER, or labNUMBER, with the starter files of a lab."""
    lab = find_lab(number)
    folder = folder or Path(lab.folder_name)
    start(lab, folder)
    click.echo(f"{folder}/ has {', '.join(path.name for path in lab.starter)}.")
    click.echo(f"What to do: ringlet lab show {number}. Grade it: cd {folder}; ringlet lab check")


@command.command("show")
@click.argument("number", type=int)
def show(number: int) -> None:
    """Show the text of a lab."""
    from rich.markdown import Markdown

    from ringlet.cli.rich_console import OutputConsole

    console = OutputConsole(width=None if sys.stdout.isatty() else _WIDTH)
    console.print(Markdown(find_lab(number).text))


@command.command("reset")
@click.argument("number", type=int, required=False)
def reset_(number: int | None) -> None:
    """Put the starter files into the folder again, and keep your files in a folder beside them."""
    lab, folder = find_folder(number, of_any_version=True)
    backup = reset(lab, folder)
    click.echo(f"{folder}/ has the starter files of lab {lab.number} again.")
    if backup is not None:
        click.echo(f"Your files are in {backup}/.")


@command.command("check", epilog=CHECK_EPILOG)
@click.argument("number", type=int, required=False)
@click.option("--json", "as_json", is_flag=True, help="Write the grades as JSON, with points.")
@click.option(
    "--gradescope",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the grades to FILE in the format of Gradescope.",
)
@click.option(
    "--on",
    type=click.Choice(["auto", "here", "nested"]),
    default="auto",
    help="Where the checks run: with this host's KVM, or in an emulated machine that has a "
    "hardware KVM. If not given: in the machine if this host lacks the KVM that the lab needs.",
)
def check(number: int | None, as_json: bool, gradescope: Path | None, on: str) -> int:
    """Grade the work in this folder, or in the folder of lab NUMBER."""
    from ringlet.labs import report

    try:
        lab, folder = find_folder(number)
        grades = _grade(lab, folder, on)
    except RingletError as error:
        if as_json:
            print_json({"error": error.message, "hint": error.hint})
        raise
    if gradescope is not None:
        _write(gradescope, json.dumps(report.as_gradescope(grades), indent=2))
    if as_json:
        print_json(report.as_json(grades))
    else:
        _print(grades)
    return 0 if grades.passed else NOT_PASSED


def _grade(lab: Lab, folder: Path, on: str) -> Grades:
    from ringlet.labs.grade import grade, why_not_here

    interrupt.defer()
    progress = _Progress(len(lab.checks()))
    try:
        why = why_not_here(lab) if on == "auto" else None
        if why is not None:
            click.echo(f"ringlet: note: {why}; an emulated machine checks instead", err=True)
        if why is not None or on == "nested":
            from ringlet.labs.nested import grade_nested

            progress.say("an emulated machine comes up and checks, in some 20 seconds ...")
            return grade_nested(lab, folder)
        return grade(lab, folder, progress.show)
    finally:
        progress.erase()


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n")
    except OSError as error:
        raise ConfigError(
            f"the grades can't be written to {path}: {error.strerror}", "name another file"
        ) from None


class _Progress:
    """A line on a terminal that says which check runs."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._number = 0
        self._is_shown = sys.stderr.isatty()

    def show(self, check: Check) -> None:
        """Shows the next check in place of the last one."""
        self._number += 1
        self.say(f"{self._number}/{self._count} {check.name}")

    def say(self, what: str) -> None:
        """Shows one line in place of the last one."""
        if self._is_shown:
            click.echo(f"\r\033[K{what}", nl=False, err=True)

    def erase(self) -> None:
        """Erases the line."""
        if self._is_shown:
            click.echo("\r\033[K", nl=False, err=True)


def _print(grades: Grades) -> None:
    from ringlet.labs.report import lines

    click.echo(f"Lab {grades.lab}: {grades.title}")
    step = 0
    for verdict in grades.verdicts:
        if verdict.step != step:
            step = verdict.step
            click.echo(f"\nStep {step}")
        click.echo(_line(verdict))
        if not verdict.passed:
            for line in lines(verdict):
                click.echo(f"         {line}")
    click.echo(f"\n{grades.earned} of {grades.points} points, on {grades.where}")
    for note in grades.notes:
        click.echo(f"note: {note}", err=True)


def _line(verdict: Verdict) -> str:
    word, colour = ("passed", "green") if verdict.passed else ("failed", "red")
    points = f"{verdict.earned}/{verdict.points}"
    return f"  {click.style(word, fg=colour)} {verdict.name} ({points})"


def _time(minutes: int) -> str:
    hours, rest = divmod(minutes, 60)
    parts = [f"{hours} h"] * bool(hours) + [f"{rest} min"] * bool(rest)
    return " ".join(parts)
