"""Shows reports of different hosts or days beside each other: `ringlet compare --load`."""

from __future__ import annotations

from rich.style import Style
from rich.table import Table as Grid
from rich.text import Text

from ringlet.compare.report import Cell
from ringlet.compare.showing.table import NOTHING, host_line
from ringlet.compare.statistics import interval
from ringlet.compare.words import clean, heading, quantity
from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from ringlet.compare.report import Report, ReportedMeasure

MOST = 6  # the most reports that fit the width of a terminal
_DIM = Style(dim=True)
_BOLD = Style(bold=True)
TIMES = "\N{MULTIPLICATION SIGN}"
_LEGEND = (
    f"Medians, and {TIMES} what they are of the first report's, with ! where that is beyond chance:"
    " the intervals (95 %) of the two medians have nothing in common."
)


class SideBySide:
    """A table of named reports, for rich: each report is a column, each way a line."""

    def __init__(self, reports: Sequence[tuple[str, Report]]) -> None:
        self.reports = reports

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        names = [clean(name, 80) for name, _ in self.reports]
        hosts = [host_line(report.host) for _, report in self.reports]
        for name, host in zip(names, hosts, strict=True):
            yield Text.assemble((f"{name}: ", _BOLD), host)
        if len({host.plain for host in hosts}) > 1:
            yield Text("They were made on different hosts, or by different versions.", "yellow")
        group = None
        for rows in matched([report for _, report in self.reports]):
            measure = next(row for row in rows if row is not None)
            grid = self._grid(options.max_width)
            if measure.group != group:
                group = measure.group
                yield Text("")
                name_of_group = Text(heading(group), Style(bold=True, underline=True))
                grid.add_row(name_of_group, *(Text(name, _BOLD) for name in names))
            yield grid
            better = {"lower": " ↓", "higher": " ↑"}.get(measure.better, "")
            yield Text.assemble((clean(measure.title), _BOLD), (better, _DIM))
            grid = self._grid(options.max_width)
            for way, title in self._ways().items():
                cells = [row.ways.get(way, Cell()) if row else Cell() for row in rows]
                if any(cell.median is not None or cell.text is not None for cell in cells):
                    texts = [_text(measure, cells[0], cell) for cell in cells]
                    grid.add_row(Text(f"  {title}"), *texts)
            yield grid
        yield Text("")
        yield Text(_LEGEND, _DIM)

    def _ways(self) -> dict[str, str]:
        """Returns the titles of all ways, by their names."""
        ways = [way for _, report in self.reports for way in report.ways]
        return {way.name: clean(way.title) for way in reversed(ways)}

    def _grid(self, width: int) -> Grid:
        title = max(12, width // 5)
        column = max((width - title) // len(self.reports), 2)
        grid = Grid.grid(padding=(0, 1, 0, 0))
        for each in (title, *[min(column, 32)] * len(self.reports)):
            grid.add_column(width=each - 1, overflow="fold")
        return grid


def side_by_side(reports: Sequence[tuple[str, Report]]) -> SideBySide:
    """Returns a table for `Console.print`. Raises `RingletError` for too many reports."""
    if len(reports) > MOST:
        raise RingletError(f"{len(reports)} reports don't fit", f"load at most {MOST} at once")
    return SideBySide(reports)


def matched(reports: Sequence[Report]) -> list[list[ReportedMeasure | None]]:
    """Groups the measures by name and unit: one of each report, or None if the report has none."""
    names = dict.fromkeys((row.name, row.unit) for report in reports for row in report.measures)
    rows = [{(row.name, row.unit): row for row in report.measures} for report in reports]
    return [[row.get(name) for row in rows] for name in names]


def _text(measure: ReportedMeasure, first: Cell, cell: Cell) -> Text:
    if cell.median is None:
        return Text(NOTHING if cell.text is None else clean(cell.text))
    text = Text(quantity(cell.median, measure.unit))
    if cell is not first and first.median:
        ratio = cell.median / first.median
        style, mark = _DIM, ""
        if _are_apart(first, cell):
            better = (cell.median < first.median) == (measure.better == "lower")
            mark = " !"
            style = Style(color=("green" if better else "red") if measure.better else "cyan")
        text.append(f" {TIMES}{ratio:.3g}{mark}", style)
    return text


def _are_apart(one: Cell, other: Cell) -> bool:
    between = interval(one.samples), interval(other.samples)
    if between[0] is None or between[1] is None:
        return False
    return between[0][1] < between[1][0] or between[1][1] < between[0][0]
