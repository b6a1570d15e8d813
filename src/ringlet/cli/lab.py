"""`ringlet lab`: begins labs, shows their texts, and grades a student's work."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ringlet.cli.answer import print_json, report
from ringlet.cli.group import NearGroup
from ringlet.errors import ConfigError, RingletError
from ringlet.host import interrupt
from ringlet.host.printable import printable
from ringlet.labs.catalog import find_lab, labs
from ringlet.labs.folder import find_folder, find_work, reset, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from ringlet.labs.check import Verdict
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
START_EPILOG = """\b
Examples:
  ringlet lab start 1                 makes the folder lab1
  ringlet lab start 1 ~/course/first  makes that folder
"""
SHOW_EPILOG = """\b
Examples:
  ringlet lab show 1                  the text of lab 1
  cd lab1; ringlet lab show           the same
  ringlet lab show 1 | less -R        a page at a time
"""
RESET_EPILOG = """\b
Examples:
  cd lab1; ringlet lab reset          your files move to lab1/before-reset-1
  ringlet lab reset 1                 the same, from the folder that has lab1
"""
CHECK_EPILOG = """\b
Examples:
  ringlet lab check                   in the folder of a lab
  ringlet lab check 1                 in the folder that has lab1
  ringlet lab check --json handed-in/*/lab1 > grades.json
  ringlet lab check --gradescope /autograder/results/results.json

\b
Your code runs in a container: without a network, with limits on time, memory, processes and output.
Your files stay as they are.

\b
Status: 0 if all checks passed; 1 if not; 125 if a work could not be graded.
"""


@click.group("lab", cls=NearGroup, invoke_without_command=True, epilog=EPILOG)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Learn how VMs and containers work: exercises, and a grader that looks at the machine."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@command.command("list")
def list_() -> None:
    """List the labs: number, title, and the time that it takes."""
    for lab in labs():
        click.echo(f"{lab.number:>3}  {lab.title} ({_time(lab.minutes)})")


@command.command("start", epilog=START_EPILOG)
@click.argument("number", type=int)
@click.argument("folder", required=False, type=click.Path(path_type=Path))
def start_(number: int, folder: Path | None) -> None:
    """Make FOLDER, or labNUMBER, with the starter files of a lab."""
    lab = find_lab(number)
    folder = folder or Path(lab.folder_name)
    start(lab, folder)
    click.echo(f"{folder}/ has {', '.join(path.name for path in lab.starter)}.")
    click.echo(f"What to do: ringlet lab show {number}. Grade it: cd {folder}; ringlet lab check")


@command.command("show", epilog=SHOW_EPILOG)
@click.argument("number", type=int, required=False)
def show(number: int | None) -> None:
    """Show the text of a lab, or of the lab of this folder: what to do, and why."""
    from rich.markdown import Markdown

    from ringlet.cli.rich_console import OutputConsole

    console = OutputConsole(width=None if sys.stdout.isatty() else _WIDTH)
    lab = find_folder(None)[0] if number is None else find_lab(number)
    console.print(Markdown(lab.text))


@command.command("reset", epilog=RESET_EPILOG, short_help="Put the starter files there again.")
@click.argument("number", type=int, required=False)
def reset_(number: int | None) -> None:
    """Put the starter files into this folder, or into the folder of lab NUMBER, again.

    Your files move to a new folder in there, before-reset-1; none is lost.
    """
    lab, folder = find_folder(number, of_any_version=True)
    backup = reset(lab, folder)
    click.echo(f"{folder}/ has the starter files of lab {lab.number} again.")
    if backup is not None:
        click.echo(f"Your files are in {backup}/.")


@command.command("check", epilog=CHECK_EPILOG)
@click.argument("labs_", metavar="[LAB]...", nargs=-1)
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
    "hardware KVM. If not given: a check that needs what this host lacks runs in the machine, all "
    "others here.",
)
def check(labs_: tuple[str, ...], as_json: bool, gradescope: Path | None, on: str) -> int:
    """Grade the work in this folder, or the work of each LAB.

    LAB is the number of a lab, whose work is in this folder or in the folder labNUMBER; or a
    folder. One emulated machine serves all works.
    """
    words: tuple[str | None, ...] = labs_ or (None,)
    if gradescope is not None and len(words) > 1:
        raise ConfigError("--gradescope takes one work", "grade each work by a command of its own")
    status = 0
    found = []
    for word, grades in zip(words, _grade(words, on), strict=True):
        if gradescope is not None:
            _write_gradescope(gradescope, grades)
        if isinstance(grades, RingletError):
            status = grades.status
            report(grades.message, grades.hint)
        else:
            status = max(status, 0 if grades.passed else NOT_PASSED)
            if not as_json:
                _print(grades, word if len(words) > 1 else None)
        found.append(_data(word, grades))
    if as_json:
        print_json(found if len(words) > 1 else found[0])
    return status


def _grade(words: Sequence[str | None], on: str) -> Iterator[Grades | RingletError]:
    """Grades one work after another. One that can't be graded gives the reason."""
    from ringlet.labs.grader import Grader

    interrupt.defer()
    progress = _Progress()
    with Grader(on, progress.say, progress.note) as grader:
        for word in words:
            grades: Grades | RingletError
            try:
                grades = grader.grade(*find_work(word))
            except RingletError as error:
                grades = error
            finally:
                progress.erase()
            yield grades


def _data(word: str | None, grades: Grades | RingletError) -> dict[str, Any]:
    from ringlet.labs.report import as_json

    if isinstance(grades, RingletError):
        return {"work": word or ".", "error": grades.message, "hint": grades.hint}
    return {"work": word or ".", **as_json(grades)}


def _write_gradescope(path: Path, grades: Grades | RingletError) -> None:
    """Writes what Gradescope shows; nothing where the grader has failed, and not the student."""
    from ringlet.labs.report import as_gradescope, as_gradescope_error
    from ringlet.labs.work import WorkError

    if isinstance(grades, WorkError):
        _write(path, json.dumps(as_gradescope_error(grades.message, grades.hint), indent=2))
    elif not isinstance(grades, RingletError):
        _write(path, json.dumps(as_gradescope(grades), indent=2))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n")
    except OSError as error:
        raise ConfigError(
            f"the grades can't be written to {path}: {error.strerror}", "name another file"
        ) from None


class _Progress:
    """A line on a terminal that says what goes on."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()

    def say(self, what: str) -> None:
        """Shows one line in place of the last one."""
        if self._is_shown:
            click.echo(f"\r\033[K{what}", nl=False, err=True)

    def note(self, what: str) -> None:
        """Prints a line that stays."""
        self.erase()
        click.echo(f"ringlet: note: {what}", err=True)

    def erase(self) -> None:
        """Erases the line."""
        self.say("")


def _print(grades: Grades, word: str | None) -> None:
    from ringlet.labs.report import lines

    if word is not None:
        click.echo(f"\n== {printable(word)}")
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
