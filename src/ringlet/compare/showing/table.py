"""Shows a report as a table on a terminal: a section for each group, a column for each way.

Each number has its spread, and a bar relative to the row's largest number. Text that doesn't fit
into a cell is a note below the table. Control sequences in a report never reach the terminal.
"""

from __future__ import annotations

from io import StringIO
from math import isfinite, log
from string import ascii_letters, digits

from rich.console import Console
from rich.padding import Padding
from rich.style import Style
from rich.table import Table as Grid
from rich.text import Text

from ringlet.compare.report import Cell, groups
from ringlet.compare.showing.verdict import disturbed, incomplete
from ringlet.compare.statistics import are_apart
from ringlet.compare.words import clean, heading, number, quantity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import ConsoleOptions, RenderableType, RenderResult

    from ringlet.compare.report import Host, Report, ReportedMeasure, ReportedWay

LOG_RATIO = 50  # if a row's numbers differ more, its bars are logarithmic
COLOURS = ("cyan", "blue", "magenta", "yellow", "green", "red")  # the colours of the ways
PHASES = "█▒▓░▚▪▞◦" + ascii_letters + digits  # one for each phase that a report may have
NOTHING = "—"

_EIGHTHS = " ▏▎▍▌▋▊▉"
_ASCII = str.maketrans("█▒▓░▚▪▞◦▏▎▍▌▋▊▉—±↓↑µ\xd7…", "#=+-%*/.   ####-~<>ux.")
_MIN_COLUMN = 13
_ABSENT_COLUMN = 10  # the width for an unavailable way
_MAX_COLUMN = 30
_DIM = Style(dim=True)
_BOLD = Style(bold=True)


def to_text(renderable: RenderableType, width: int = 80, ascii_only: bool = False) -> str:
    """Returns plain text, `width` columns wide at most."""
    file = StringIO()
    console = Console(file=file, width=width, color_system=None, legacy_windows=False)
    console.print(renderable)
    text = "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"
    return text.translate(_ASCII).encode("ascii", "replace").decode() if ascii_only else text


class Table:
    """The table of a report, for rich."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        report = self.report
        notes = Notes()
        yield host_line(report.host)
        for warning in filter(None, (incomplete(report), disturbed(report))):
            yield Text(warning, "yellow")
        side_by_side = blocks(report.ways, options.max_width)
        for group, measures in groups(report).items():
            for block in side_by_side:
                yield Text("")
                yield _heading(group, block, notes)
                for measure in measures:
                    yield _row(measure, report.ways, block, notes)
                    if block is side_by_side[0]:
                        yield from _below(measure)
        yield Text("")
        yield from notes.lines()
        yield Text(_legend(report), _DIM)


class Notes:
    """The notes below the table. Each text appears once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, text: str | None) -> str:
        """Returns the mark that refers to the note `text`; empty for None."""
        if text is None:
            return ""
        return f" [{self._numbers.setdefault(clean(text), len(self._numbers) + 1)}]"

    def lines(self) -> Iterator[RenderableType]:
        """Yields the notes, each with its number."""
        grid = Grid.grid(padding=(0, 1))
        grid.add_column(justify="right")
        grid.add_column(overflow="fold")
        for text, number_ in self._numbers.items():
            grid.add_row(Text(f"[{number_}]"), Text(text))
        if self._numbers:
            yield grid


class WayBlock:
    """Ways that fit side by side, with the widths of the title's column and of their columns."""

    def __init__(self, ways: Sequence[ReportedWay], title: int, column: int) -> None:
        self.ways = ways
        self.widths = [_ABSENT_COLUMN if way.error else column for way in ways]
        self._title = title

    def row(self, *cells: Text) -> Grid:
        """Returns a row: its title and its cells."""
        grid = Grid.grid(padding=(0, 1, 0, 0))
        for width in (self._title, *self.widths):
            grid.add_column(width=max(width - 1, 1), overflow="fold")
        grid.add_row(*cells)
        return grid


def blocks(ways: Sequence[ReportedWay], width: int) -> list[WayBlock]:
    """Splits the ways into blocks that fit. All columns, and so their bars, have the same width."""
    title = max(14, min(width // 5, 26))
    found: list[list[ReportedWay]] = [[]]
    for way in ways:
        if found[-1] and _spare([*found[-1], way], width - title) < 0:
            found.append([])
        found[-1].append(way)
    there = [max(sum(not way.error for way in block), 1) for block in found]
    more = min(
        _spare(block, width - title) // count for block, count in zip(found, there, strict=True)
    )
    column = _MIN_COLUMN + max(0, min(more, _MAX_COLUMN - _MIN_COLUMN))
    return [WayBlock(block, title, column) for block in found]


def _spare(ways: Sequence[ReportedWay], width: int) -> int:
    """Returns the width that the narrowest columns leave free."""
    return width - sum(_ABSENT_COLUMN if way.error else _MIN_COLUMN for way in ways)


def host_line(host: Host) -> Text:
    """Returns a line that describes the host."""
    kvm = {"none": "no KVM", "software": "a software KVM", "hardware": "hardware KVM"}
    where = "" if host.virtualization == "none" else f"; itself a guest of {host.virtualization}"
    versions = ", ".join(f"{name} {version}" for name, version in host.versions.items())
    memory = quantity(host.memory / 2**30, "GiB")
    plural = "" if host.processors == 1 else "s"
    return Text(
        clean(
            f"{host.processor}, {host.processors} CPU{plural}, {memory}, {host.kernel}, "
            f"{kvm.get(host.kvm, host.kvm)}{where}. {versions}."
        ),
        _DIM,
    )


def bar(share: float, width: int) -> str:
    """Returns a bar of this share of `width` columns, rounded to an eighth of a column."""
    eighths = round(min(max(share, 0), 1) * width * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def shares(values: Mapping[str, float]) -> tuple[dict[str, float], bool]:
    """Returns each value relative to the largest, and whether the scale is logarithmic."""
    positive = [value for value in values.values() if value > 0 and isfinite(value)]
    if not positive:
        return dict.fromkeys(values, 0.0), False
    low, high = min(positive), max(positive)
    logarithmic = high / LOG_RATIO > low
    if logarithmic:
        base = log(low) - 1  # so that the smallest value has a bar, too
        found = {
            name: (log(value) - base) / (log(high) - base) if value > 0 else 0.0
            for name, value in values.items()
        }
    else:
        found = {name: max(value, 0) / high for name, value in values.items()}
    return found, logarithmic


def _heading(group: str, block: WayBlock, notes: Notes) -> RenderableType:
    titles = [Text(clean(way.title) + notes.mark(way.error), _BOLD) for way in block.ways]
    return block.row(Text(heading(group), Style(bold=True, underline=True)), *titles)


def _row(
    measure: ReportedMeasure, all_ways: Sequence[ReportedWay], block: WayBlock, notes: Notes
) -> RenderableType:
    medians = _medians(measure)
    lengths, logarithmic = shares(medians)
    best = _best(measure, medians)
    phases = _phases(measure)
    title = Text(clean(measure.title))
    title.append({"lower": " ↓", "higher": " ↑"}.get(measure.better, ""), _DIM)
    title.append(" log" if logarithmic else "", _DIM)
    cells = [title]
    for way, width in zip(block.ways, block.widths, strict=True):
        cell = measure.ways.get(way.name, Cell())
        marks = notes.mark(cell.note) + notes.mark(None if way.error else cell.error)
        text = Text()
        if cell.median is not None:
            style = Style(bold=True, color="green") if way.name in best else _BOLD
            text.append(quantity(cell.median, measure.unit), style)
            if cell.spread is not None:
                text.append(f" ±{_half(cell.spread, cell.median)}", _DIM)
            text.append(marks, _DIM)
            color = COLOURS[all_ways.index(way) % len(COLOURS)]
            parts = _parts(cell, phases, lengths[way.name], max(width - 2, 1))
            text.append(f"\n{parts}", color)
        elif cell.text is not None:
            said = clean(cell.text)
            text.append(said if " " in said else said.replace(",", ", "))  # lines wrap at spaces
            text.append(marks, _DIM)
        else:
            text.append(NOTHING + marks, _DIM)
        cells.append(text)
    return block.row(*cells)


def _half(spread: float, median: float) -> str:
    """Returns half the spread with two significant digits; 0 if it is tiny beside the median."""
    half = abs(spread) / 2
    if half < abs(median) / 2000:
        return "0"
    return f"{half:.2g}" if 1e-4 <= half < 99 else number(half)


def _medians(measure: ReportedMeasure) -> dict[str, float]:
    return {name: c.median for name, c in measure.ways.items() if c.median is not None}


def _best(measure: ReportedMeasure, medians: Mapping[str, float]) -> set[str]:
    """Returns the best ways, as far as the samples show; none if no way is worse."""
    if measure.better not in ("lower", "higher") or not medians:
        return set()
    best = (min if measure.better == "lower" else max)(medians, key=lambda name: medians[name])
    worse = {
        name
        for name in medians
        if are_apart(measure.ways[best].samples, measure.ways[name].samples)
    }
    return medians.keys() - worse if worse else set()


def _phases(measure: ReportedMeasure) -> list[str]:
    """Returns the names of the phases in this row, in order."""
    return list(dict.fromkeys(name for cell in measure.ways.values() for name in cell.phases))


def _parts(cell: Cell, phases: Sequence[str], share: float, width: int) -> str:
    """Returns the bar, divided into its phases if they are known."""
    total = max(cell.median or 0, sum(max(part, 0) for part in cell.phases.values()))
    if not cell.phases or not total > 0 or not isfinite(total):
        return bar(share, width)
    text, end = "", 0.0
    for name, part in cell.phases.items():
        end += max(part, 0) / total * share * width
        text += PHASES[phases.index(name) % len(PHASES)] * (round(end) - len(text))
    return text


def _below(measure: ReportedMeasure) -> Iterator[RenderableType]:
    """Yields the lines below a row, in its full width."""
    phases = _phases(measure)
    says = [clean(measure.meaning)] if measure.meaning else []
    if phases:
        says.append(
            "  ".join(f"{PHASES[i % len(PHASES)]} {clean(name)}" for i, name in enumerate(phases))
        )
    for text in says:
        yield Padding(Text(text, _DIM), (0, 0, 0, 2))


def _legend(report: Report) -> str:
    cells = [cell for row in report.measures for cell in row.ways.values()]
    runs = sorted(len(cell.samples) for cell in cells if cell.samples) or [0]
    count = f"{runs[0]} to {runs[-1]}" if runs[0] < runs[-1] else f"{runs[0]}"
    return (
        f"Medians of {count} runs, taken in turns, in {report.seconds:.0f} s; ± half the distance "
        "of the quartiles, and no ± where there was one run; green: nobody is better, as far as "
        "the runs tell; ↓ less is better, ↑ more is; log: bars by "
        "logarithms. How each number is made, and the command that repeats it: --html FILE, or "
        "--json."
    )
