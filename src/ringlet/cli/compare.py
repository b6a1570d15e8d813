"""`ringlet compare`: compares the same work in a process, in a container and in a VM."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import NamedTuple

import click

from ringlet.cli.file_type import FILE
from ringlet.cli.output_file import OutputFile
from ringlet.errors import ConfigError, RingletError, near
from ringlet.host.interrupt import ENDING
from ringlet.host.signals import Handlers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from rich.console import RenderableType

    from ringlet.compare.comparison import Progress
    from ringlet.compare.report import Report

EPILOG = """\b
Examples:
  ringlet compare                                a process, a container, VMs: under two minutes
  ringlet compare --quick
  ringlet compare --with runc --with qemu --measure startup
  ringlet compare --full --html page.html --json report.json
  ringlet compare --ways process,container --chart startup=startup.svg
  ringlet compare --load laptop.json server.json

\b
Ways: process, container, tiny-vm and linux-vm; with --with: qemu, runc, crun, bwrap, podman, or
all that are installed. A way that can't run here is a column that says why.
Measures: startup, memory, processor, exits, disk, isolation, neighbour, density.
Ctrl-C ends the comparison after the sample that is under way, and shows the results so far.

\b
Status: 0; 125 if ringlet could not do it; 128 + n after signal n, with what was found.
"""

STDOUT = "-"
MOST = 10_000  # the largest number that a counting option takes


class Preset(NamedTuple):
    """How thorough a comparison is: fewest and most rounds, seconds in all, instances at once."""

    least: int
    most: int
    seconds: float
    instances: int


DEFAULT = Preset(6, 30, 100, 20)
QUICK = Preset(3, 5, 22, 5)
FULL = Preset(10, 100, 900, 100)


@click.command("compare", epilog=EPILOG)
@click.argument("files", nargs=-1, type=FILE)
@click.option(
    "--with",
    "more",
    metavar="NAME",
    multiple=True,
    help="Run the work this way, too. `all` stands for every way that is installed.",
)
@click.option(
    "--ways", "--only", metavar="NAMES", multiple=True, help="Run the work only these ways."
)
@click.option(
    "--measure",
    "measures",
    metavar="NAME",
    multiple=True,
    help="Measure only this. May be given again. The names are below.",
)
@click.option("--quick", is_flag=True, help="Few rounds: some 20 seconds.")
@click.option("--full", is_flag=True, help="All ways, 100 instances, more rounds: 15 minutes.")
@click.option(
    "--runs", type=int, metavar="N", help="Measure N rounds. A single round has no warm-up."
)
@click.option("--seconds", type=float, metavar="S", help="Be done in about S seconds.")
@click.option(
    "--kernel",
    metavar="FILE",
    type=click.Path(),
    help="The kernel of the Linux VM. If not given: the newest one in /boot, or one that `ringlet "
    "nested --setup` has fetched.",
)
@click.option(
    "--instances",
    type=int,
    metavar="N",
    help=f"How many instances run at once, if memory is enough; {DEFAULT.instances} if not given.",
)
@click.option(
    "--keep",
    metavar="FOLDER",
    type=click.Path(file_okay=False),
    help="Make FOLDER with the files that the report's commands name, and don't delete it.",
)
@click.option(
    "--json",
    "json_file",
    is_flag=False,
    flag_value=STDOUT,
    metavar="[FILE]",
    type=FILE,
    help="Write all samples as JSON; to standard output if no FILE is named.",
)
@click.option(
    "--csv",
    "csv_file",
    metavar="FILE",
    type=click.Path(),
    help="Write all samples as CSV; - is standard output.",
)
@click.option(
    "--html", "html_file", metavar="FILE", type=click.Path(), help="Write a page with charts."
)
@click.option(
    "--chart", "charts", metavar="NAME=FILE", multiple=True, help="Write a chart as .svg or .png."
)
@click.option(
    "--load", metavar="FILE...", type=FILE, multiple=True, help="Show reports made with --json."
)
def command(
    files: tuple[str, ...],
    load: tuple[str, ...],
    json_file: str | None,
    csv_file: str | None,
    html_file: str | None,
    charts: tuple[str, ...],
    **options: Any,
) -> int:
    """Run the same work as a process, in a container and in VMs, and show how they differ.

    ringlet measures how long each way takes to start and to run, how much memory each way takes,
    what the work sees of the host, and how it disturbs other work. The ways take turns, and the
    more the numbers vary, the more rounds there are. If other work keeps this host busy, the
    report says so.
    """
    if files and not load:
        known = [name for each in click.get_current_context().command.params for name in each.opts]
        hint = near(files[0], known, "reports are shown with --load")
        raise ConfigError(f"{files[0]!r} isn't an option", hint)
    plan = None if load else _Plan(**options)
    reports = []
    if plan is None:
        for option in click.get_current_context().command.params:
            if options.get(option.name or ""):
                raise ConfigError(
                    f"--load measures nothing, and has no use for {option.opts[0]}", "leave it out"
                )
        from ringlet.compare.report import read

        reports = [(path, read(path)) for path in (*load, *files)]
        if len(reports) > 1 and (json_file or csv_file or html_file or charts):
            raise ConfigError("a file is made of one report", "load one at a time")
    with ExitStack() as stack:
        caught = stack.enter_context(_signals())
        outputs = _Outputs(stack, json_file, csv_file, html_file, charts)
        if plan is not None:
            outputs.check(plan.groups())
            report = plan.run(caught)
        else:
            report = reports[0][1]
        text = outputs.write(report)
        if text is not None:
            click.echo(text, nl=False)
        else:
            _show(report if len(reports) < 2 else reports)
        outputs.complain()
        return 128 + caught[0] if caught else 0


class _Plan:
    """The plan of a comparison: its ways, its measures and its limits. Raises `ConfigError`."""

    def __init__(
        self,
        more: Sequence[str],
        ways: Sequence[str],
        measures: Sequence[str],
        quick: bool,
        full: bool,
        runs: int | None,
        seconds: float | None,
        kernel: str | None,
        instances: int | None,
        keep: str | None,
    ) -> None:
        from ringlet.compare.comparison import Limits
        from ringlet.compare.lab import Settings
        from ringlet.compare.measures import NAMES
        from ringlet.compare.ways import DEFAULT as USUAL
        from ringlet.compare.ways import OPTIONAL, is_installed

        if quick and full:
            raise ConfigError("--quick and --full exclude each other", "leave one out")
        for name, value in (("runs", runs), ("seconds", seconds), ("instances", instances)):
            if value is not None and not 1 <= value <= MOST:
                raise ConfigError(f"--{name} is from 1 to {MOST}", "name a number in between")
        preset = QUICK if quick else FULL if full else DEFAULT
        asked = list(_words(more))
        if "all" in asked or full:
            asked = [*filter("all".__ne__, asked), *filter(is_installed, OPTIONAL)]
        self.ways = _choose("way", [*(list(_words(ways)) or USUAL), *asked], [*USUAL, *OPTIONAL])
        self.measures = _choose("measure", list(_words(measures)) or NAMES, NAMES)
        self._settings = Settings(kernel, instances or preset.instances, keep=keep)
        budget = preset.seconds if runs is None else float("inf")  # with --runs, time is no limit
        self._limits = Limits(
            runs or preset.least, runs or preset.most, budget if seconds is None else seconds
        )

    def groups(self) -> list[str]:
        """Returns the groups of the measures. The name of a chart begins with its group."""
        from ringlet.compare.measures import find

        return [find(name).group for name in self.measures]

    def run(self, caught: Sequence[int]) -> Report:
        """Measures until the plan is done or `caught` holds a signal, and returns the report."""
        import shlex

        from ringlet.compare.comparison import compare

        with _progress() as show:

            def on_progress(progress: Progress) -> None:
                if caught:
                    raise KeyboardInterrupt
                show(progress)

            return compare(
                self._settings,
                self.ways,
                self.measures,
                self._limits,
                command=shlex.join(["ringlet", *sys.argv[1:]]),
                on_progress=on_progress,
            )


class _Outputs:
    """The output files that the user asked for. They are opened before the measuring starts."""

    def __init__(
        self,
        stack: ExitStack,
        json_file: str | None,
        csv_file: str | None,
        html_file: str | None,
        charts: Iterable[str],
    ) -> None:
        if json_file == csv_file == STDOUT:
            raise ConfigError("--json and --csv both go to standard output", "name a file for one")
        if html_file == STDOUT:
            raise ConfigError("a page isn't for standard output", "name a file")
        self.charts = [_name_and_file(chart) for chart in charts]
        if self.charts or html_file is not None:
            from ringlet.compare.showing.charts import check_path, require

            require()
            for _, path in self.charts:
                check_path(path)
        self._files = {
            path: stack.enter_context(OutputFile(path))
            for path in (json_file, csv_file, html_file, *(path for _, path in self.charts))
            if path not in (None, STDOUT)
        }
        self._json, self._csv, self._html = json_file, csv_file, html_file
        self._failure: RingletError | None = None

    def check(self, groups: Iterable[str]) -> None:
        """Raises `ConfigError` if a chart belongs to a group that isn't among `groups`."""
        from ringlet.compare.words import slug

        known = list(dict.fromkeys(map(slug, groups)))
        for name, _ in self.charts:
            if not any(name == slug or name.startswith(f"{slug}-") for slug in known):
                hint = near(name, known, f"there are {', '.join(known)}")
                raise ConfigError(f"there is no chart {name!r}", hint)

    def write(self, report: Report) -> str | None:
        """Writes the files, and returns the text for standard output, if there is any.

        If one file can't be written, the others are written nevertheless.
        """
        from ringlet.compare.report import to_json

        texts = {}
        if self._json is not None:
            texts[self._json] = to_json(report).decode()
        if self._csv is not None:
            from ringlet.compare.showing.csv import to_csv

            texts[self._csv] = to_csv(report)
        for file in texts.keys() - {STDOUT}:
            self._file(file, partial(_write_text, texts[file]))
        if self._html is not None:
            from ringlet.compare.showing import page

            self._file(self._html, partial(page.write, report))
        for name, file in self.charts:
            from ringlet.compare.showing import charts

            self._file(file, partial(charts.write, report, name))
        return texts.get(STDOUT)

    def complain(self) -> None:
        """Raises the `RingletError` of a file that could not be written, if there is one."""
        if self._failure is not None:
            raise self._failure

    def _file(self, file: str, write: Callable[[str], None]) -> None:
        output = self._files[file]
        try:
            write(output.path)
            output.finish()
        except OSError as error:
            self._failure = RingletError(f"can't write {file}: {error.strerror}", "make room there")
        except RingletError as error:
            self._failure = error


def _write_text(text: str, path: str) -> None:
    with open(path, "w", encoding="utf-8", newline="") as output:
        output.write(text)


def _words(given: Iterable[str]) -> Iterator[str]:
    for text in given:
        yield from filter(None, text.split(","))


def _choose(what: str, asked: Iterable[str], known: Sequence[str]) -> list[str]:
    """Returns the names of `asked` in the order of `known`. Raises `ConfigError`."""
    asked = set(asked)
    for name in sorted(asked.difference(known)):
        hint = near(name, known, f"there are {', '.join(known)}")
        raise ConfigError(f"there is no {what} {name!r}", hint)
    return [name for name in known if name in asked]


def _name_and_file(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if not name or not path:
        raise ConfigError(f"{text!r} is no chart and its file", "such as startup=startup.svg")
    return name, path


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects the signals that arrive, in the list that it yields.

    A signal raises no exception, which would interrupt the clean-up of a way. The sample that is
    being taken ends first, within a few seconds.
    """
    caught: list[int] = []

    def on_signal(number: int, frame: object) -> None:
        if not caught:
            start = "\n" if os.isatty(2) else ""  # the cursor is behind the progress bar
            with suppress(OSError):
                os.write(2, f"{start}ringlet: ending; what was found is shown\n".encode())
        caught.append(number)

    with Handlers(ENDING, on_signal):
        yield caught


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """Yields a function that shows the progress on standard error.

    A terminal shows a bar. Any other standard error gets a line for each measure.
    """
    if not sys.stderr.isatty():
        told = set()

        def tell(progress: Progress) -> None:
            if progress.measure not in told:
                told.add(progress.measure)
                click.echo(f"ringlet: measuring {progress.measure}", err=True)

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Display

    # The bar has no thread of its own, which would take processor time from the measured work.
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}")
    console = Console(stderr=True, color_system=_color())
    with Display(*columns, console=console, auto_refresh=False, transient=True) as display:
        task = display.add_task("getting ready", total=1.0, left="")

        def show(progress: Progress) -> None:
            left = f"at most {progress.left:.0f} s left"
            display.update(
                task, description=progress.measure, completed=progress.done, left=left, refresh=True
            )

        display.refresh()
        yield show


def _show(shown: Report | list[tuple[str, Report]]) -> None:
    from rich.console import Console

    from ringlet.compare.showing.load import side_by_side
    from ringlet.compare.showing.table import Table, to_text

    table: RenderableType = side_by_side(shown) if isinstance(shown, list) else Table(shown)
    console = Console(color_system=_color(), highlight=False)
    if console.is_terminal and not console.options.ascii_only:
        console.print(table)
    else:
        click.echo(to_text(table, console.width, console.options.ascii_only), nl=False)


def _color() -> Any:
    return None if os.environ.get("NO_COLOR") else "auto"
