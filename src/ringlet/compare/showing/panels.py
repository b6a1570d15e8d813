"""The panels of a chart: bars, rows and series, drawn on a canvas that is measured in pixels.

The module has its own scales, since a report may hold any number, and a bar's position has to be
finite. A length shows a value on a linear scale only. That is why a logarithmic scale has points in
place of bars.
"""

from __future__ import annotations

import math
import re
import statistics
import textwrap
from typing import NamedTuple, Protocol

from ringlet.compare.words import clean, heading, number, quantity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from matplotlib.axes import Axes

    from ringlet.compare.report import Cell, ReportedMeasure, ReportedWay

INK, MUTED, GRID, PAPER = "#1c2128", "#5b6470", "#d9dde3", "#ffffff"

# Each way has the same colour everywhere: blue or green if it shares the host's kernel, red or
# yellow if it has a kernel of its own. The colours differ in lightness, too.
COLOURS = {
    "process": "#6b7683",
    "container": "#0b6cb0",
    "tiny-vm": "#d1540b",
    "linux-vm": "#e3a21a",
    "qemu": "#9c2f5f",
    "runc": "#5cb3e4",
    "crun": "#12936b",
    "bwrap": "#8fc7a5",
    "podman": "#4b4fa3",
}
MARKERS = "osD^vPX*h"
MOST_SAMPLES = 60  # the most samples of one cell that are drawn
LARGEST = 1e30  # numbers from 1 / LARGEST to LARGEST can be drawn
LETTER, BOLD = 0.6, 0.68  # a letter's width by its size, in wide fonts
LOG_RATIO = 20  # if the medians' ratio is larger, the scale is logarithmic


def colour(name: str, at: int) -> str:
    """Returns the colour of the way `name`, which has index `at` in the report."""
    return COLOURS.get(name) or list(COLOURS.values())[at % len(COLOURS)]


def can_be_drawn(value: float | None) -> bool:
    """Returns whether `value` has a position on a scale."""
    return value is not None and abs(value) <= LARGEST  # False for NaN


def has_median(cell: Cell | None) -> bool:
    """Returns whether `cell` has a median that can be drawn."""
    return cell is not None and cell.error is None and can_be_drawn(cell.median)


def has_numbers(measure: ReportedMeasure, ways: Sequence[ReportedWay]) -> bool:
    """Returns whether `measure` has a number for one of `ways`."""
    return any(has_median(measure.ways.get(way.name)) for way in ways)


def quartiles(cell: Cell) -> tuple[float, float]:
    """Returns the quartiles of a cell with a median: by its samples, or by its spread."""
    samples = [value for value in cell.samples if can_be_drawn(value)]
    assert cell.median is not None
    if len(samples) > 1:
        low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
        return min(low, cell.median), max(high, cell.median)
    half = cell.spread / 2 if cell.spread is not None and can_be_drawn(cell.spread) else 0
    return cell.median - half, cell.median + half


class Scale(NamedTuple):
    """Maps values to pixels from `start` to `end`. A value outside is drawn at the edge."""

    low: float
    high: float
    log: bool
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Returns the position of `value`."""
        if self.log:
            value = math.log10(value) if value > 0 else self.low
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Returns a few round values for the scale's ticks."""
        if self.log:
            every = math.ceil((self.high - self.low) / 5)
            return [float(f"1e{at}") for at in range(int(self.low), int(self.high) + 1, every)]
        span = self.high - self.low
        ten = 10.0 ** math.floor(math.log10(span))
        step = next(ten * part for part in (0.2, 0.5, 1, 2, 5) if span <= 5 * ten * part)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [at * step for at in range(first, last + 1)]


def make_scale(cells: Sequence[Cell], start: float, end: float) -> Scale:
    """Returns a scale for the medians and quartiles of `cells`."""
    medians = [cell.median or 0 for cell in cells]
    values = [value for cell in cells for value in quartiles(cell)]
    low, high = min(values), max(values)
    if low >= 1 / LARGEST and max(medians) > LOG_RATIO * min(medians):
        low, high = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return Scale(low, max(high, low + 1), True, start, end)
    low, high = min(low, 0), max(high, 0)
    return Scale(low, high if high - low > 1 / LARGEST else low + 1, False, start, end)


class Canvas:
    """A sheet of `width` x `height` pixels with the origin at the top left."""

    def __init__(self, width: float, height: float, marks: Mapping[str, str]) -> None:
        from matplotlib.figure import Figure  # noqa: PLC0415 (an optional package)

        self.marks = marks  # the marks of the notes
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72, facecolor="none")
        axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        self._axes = axes

    def text(
        self, x: float, y: float, text: str, *, size: float = 12, right: bool = False,
        color: str = INK, bold: bool = False, middle: bool = False,
    ) -> None:  # fmt: skip
        """Draws one line of text with its baseline at `y` and its start, end or middle at `x`."""
        self._axes.text(
            x, y, text, size=size, color=color, weight=700 if bold else 400, va="baseline",
            ha="center" if middle else "right" if right else "left",
        )  # fmt: skip

    def box(self, x: float, y: float, width: float, height: float, **style: Any) -> None:
        """Draws a filled box."""
        from matplotlib.patches import Rectangle  # noqa: PLC0415 (an optional package)

        self._axes.add_patch(Rectangle((x, y), width, height, linewidth=0, clip_on=False, **style))

    def line(self, x: Sequence[float], y: Sequence[float], **style: Any) -> None:
        """Draws a line, or its markers."""
        self._axes.plot(x, y, **{"linewidth": 1, "clip_on": False, **style})


class Panel(Protocol):
    """A part of a chart under a title of its own."""

    title: str
    is_wide: bool  # the panel takes the full width

    def height(self, narrow: bool, width: float) -> float:
        """Returns the height in pixels."""
        ...

    def draw(self, canvas: Canvas, x: float, y: float, width: float, narrow: bool) -> None:
        """Draws the panel with its top left at `x`, `y`."""
        ...

    def tell(self) -> str:
        """Returns a text that says what the panel shows."""
        ...

    def notes(self) -> list[str]:
        """Returns the notes on the panel's numbers."""
        ...


def fit(text: str, width: float, size: float = 12) -> str:
    """Returns `text`, shortened so that it fits into `width` pixels in most fonts."""
    return clean(text, max(int(width / size / LETTER), 2))


def wrap(
    text: str, width: float, size: float = 13, letter: float = BOLD, lines: int = 2
) -> list[str]:
    """Wraps `text`, in the size of a title, into at most `lines` lines of `width` pixels."""
    letters = int(width / size / letter)
    return textwrap.wrap(clean(text), letters, max_lines=lines, placeholder=" …") or [""]


def draw_head(canvas: Canvas, x: float, y: float, title: Sequence[str], below: str) -> float:
    """Draws the title and the line below it, and returns the position of the next part."""
    for line in title:
        y += 17
        canvas.text(x, y - 3, line, size=13, bold=True)
    if below:
        y += 15
        canvas.text(x, y - 3, below, size=11, color=MUTED)
    return y + 6


class Rows:
    """The base class of panels that have a row for each way."""

    row = (24.0, 39.0)  # pixels of a row, in a wide and in a narrow chart
    foot = 0.0
    is_wide = False

    def __init__(self, measure: ReportedMeasure, ways: Sequence[ReportedWay]) -> None:
        self.measure = measure
        self.title = heading(measure.title, 120)
        self.rows = [
            (at, way, measure.ways[way.name])
            for at, way in enumerate(ways)
            if has_median(measure.ways.get(way.name))
        ]

    def below(self) -> str:
        """Returns the line below the title."""
        return ""

    def height(self, narrow: bool, width: float) -> float:
        """Returns the height in pixels."""
        title = len(wrap(self.title, width))
        head = title * 17 + (15 if self.below() else 0) + 6
        return head + len(self.rows) * self.row[narrow] + self.foot

    def tell(self) -> str:
        """Returns a text that says what the panel shows."""
        found = (
            f"{clean(way.title, 60)} {quantity(cell.median or 0, self.measure.unit)}"
            for _, way, cell in self.rows
        )
        return f"{self.title}: {', '.join(found)}"

    def notes(self) -> list[str]:
        """Returns the notes on the panel's numbers."""
        return [cell.note for _, _, cell in self.rows if cell.note]

    def draw(self, canvas: Canvas, x: float, y: float, width: float, narrow: bool) -> None:
        """Draws the panel with its top left at `x`, `y`."""
        y = draw_head(canvas, x, y, wrap(self.title, width), self.below())
        left, right = (x, x + width) if narrow else (x + 112, x + width - 88)
        row = self.row[narrow]
        starts = [y + at * row + (17 if narrow else 0) for at in range(len(self.rows))]
        self.draw_scale(canvas, left, right, starts, row - (17 if narrow else 0))
        for at, way, cell in self.rows:
            base = y + (13 if narrow else 12.5)
            canvas.text(x, base, fit(way.title, width - 100 if narrow else 110))
            value = fit(quantity(cell.median or 0, self.measure.unit), 96)
            mark = canvas.marks.get(cell.note or "", "")
            canvas.text(x + width, base, value + mark, right=True)
            self.draw_row(canvas, cell, colour(way.name, at), left, right, y + 17 * narrow)
            y += self.row[narrow]

    def draw_scale(
        self, canvas: Canvas, left: float, right: float, starts: Sequence[float], height: float
    ) -> None:
        """Draws the scale behind the rows."""

    def draw_row(
        self, canvas: Canvas, cell: Cell, color: str, left: float, right: float, y: float
    ) -> None:
        """Draws the row of one way."""
        raise NotImplementedError


class Bars(Rows):
    """A measure: for each way a bar, whiskers from quartile to quartile, and the samples."""

    def __init__(self, measure: ReportedMeasure, ways: Sequence[ReportedWay]) -> None:
        super().__init__(measure, ways)
        self._log = self._scale(0, 1).log
        self.foot = 16.0 if self._log else 0.0

    def _scale(self, left: float, right: float) -> Scale:
        return make_scale([cell for _, _, cell in self.rows], left, right)

    def below(self) -> str:
        """Returns whether less or more is better, and whether a length shows the value."""
        better = {"lower": "less is better", "higher": "more is better"}
        words = (better.get(self.measure.better), "logarithmic scale" if self._log else None)
        return ", ".join(word for word in words if word)

    def draw_scale(
        self, canvas: Canvas, left: float, right: float, starts: Sequence[float], height: float
    ) -> None:
        """Draws a line at zero, or at each power of ten."""
        scale = self._scale(left, right)
        end = starts[-1] + height
        for tick in scale.ticks() if self._log else [0.0]:
            at = scale(tick)
            for y in starts:
                canvas.line([at, at], [y, y + height], color=GRID, zorder=0)
            if self._log:
                edge = at > right - 10
                canvas.text(
                    at, end + 12, f"{tick:,g}", size=10, color=MUTED, right=edge,
                    middle=not edge and at > left + 10,
                )  # fmt: skip

    def draw_row(
        self, canvas: Canvas, cell: Cell, color: str, left: float, right: float, y: float
    ) -> None:
        """Draws the median, the quartiles, and the samples below."""
        scale = self._scale(left, right)
        at, middle = scale(cell.median or 0), y + 8
        if self._log:
            canvas.line([left, at], [middle] * 2, color=color, alpha=0.45, linewidth=1.5)
        else:
            zero = scale(0)
            canvas.box(min(zero, at), y + 2, max(abs(at - zero), 1), 12, facecolor=color)
        low, high = (scale(value) for value in quartiles(cell))
        if high - low > (14 if self._log else 1):  # the point hides a shorter line
            canvas.line([low, high], [middle] * 2, color=PAPER, linewidth=3)
            canvas.line([low, high], [middle] * 2, color=INK, linewidth=1.25)
            for end in (low, high):
                canvas.line([end, end], [middle - 3, middle + 3], color=INK, linewidth=1.25)
        if self._log:
            canvas.line([at], [middle], marker="o", markersize=9, color=color)
        samples = [value for value in cell.samples if can_be_drawn(value)]
        samples = samples[:: len(samples) // MOST_SAMPLES + 1]
        canvas.line(
            [scale(value) for value in samples], [y + 18] * len(samples), color=color,
            linestyle="none", marker="o", markersize=2.6, markeredgewidth=0, alpha=0.6,
        )  # fmt: skip


class Series:
    """A quantity by the number of instances: a line for each way, with its name at the end."""

    is_wide = True

    def __init__(
        self, rows: Sequence[tuple[int, ReportedMeasure]], ways: Sequence[ReportedWay]
    ) -> None:
        self.title = heading(re.split("[,:(]", rows[0][1].title)[0], 120)
        self._unit = rows[0][1].unit
        self._numbers = [count for count, _ in rows]
        self._lines = []
        for at, way in enumerate(ways):
            cells = [(count, row.ways.get(way.name)) for count, row in rows]
            points = [(count, cell) for count, cell in cells if cell and has_median(cell)]
            if points:
                self._lines.append((at, way, points))

    def height(self, narrow: bool, width: float) -> float:
        """Returns the height in pixels."""
        return len(wrap(self.title, width)) * 17 + 270 + 14 * max(len(self._lines) - 6, 0)

    def tell(self) -> str:
        """Returns a text that says what the panel shows."""
        found = (
            f"{clean(way.title, 60)} "
            + ", ".join(f"{quantity(cell.median or 0, self._unit)} of {n}" for n, cell in points)
            for _, way, points in self._lines
        )
        return f"{self.title}: {'; '.join(found)}"

    def notes(self) -> list[str]:
        """Returns the notes on the panel's numbers."""
        return [cell.note for _, _, points in self._lines for _, cell in points if cell.note]

    def draw(self, canvas: Canvas, x: float, y: float, width: float, narrow: bool) -> None:
        """Draws the panel with its top left at `x`, `y`."""
        end = y + self.height(narrow, width) - 36
        scale = make_scale([c for _, _, points in self._lines for _, c in points], end, 0)
        below = f"{clean(self._unit, 20)}, by the number of instances"
        below += ", logarithmic scale" if scale.log else ""
        top = draw_head(canvas, x, y, wrap(self.title, width), below) + 12
        scale = scale._replace(end=top)
        left, right = x + 52, x + width - (108 if narrow else 200)
        for tick in scale.ticks():
            canvas.line([left, right], [scale(tick)] * 2, color=GRID, zorder=0)
            canvas.text(left - 10, scale(tick) + 4, f"{tick:,g}", size=10, color=MUTED, right=True)
        most = math.log(max(self._numbers) / min(self._numbers))
        place = {
            count: left + 12 + math.log(count / min(self._numbers)) / most * (right - left - 24)
            for count in self._numbers
        }
        for count in self._numbers:
            canvas.text(place[count], end + 18, number(count), size=11, color=MUTED, middle=True)
        labels = []
        for at, way, points in self._lines:
            places = [place[count] for count, _ in points]
            heights = [scale(cell.median or 0) for _, cell in points]
            canvas.line(
                places, heights, color=colour(way.name, at), linewidth=2, markersize=6,
                marker=MARKERS[at % len(MARKERS)],
            )  # fmt: skip
            last = quantity(points[-1][1].median or 0, self._unit)
            name = clean(way.title, 60)
            marks = {canvas.marks.get(cell.note or "", "") for _, cell in points}
            label = (name if narrow else f"{name} {last}") + "".join(sorted(marks))
            labels.append((heights[-1], places[-1] + 10, label))
        free = top - 8.0
        for at_y, at_x, label in sorted(labels):
            free = max(at_y, free)
            canvas.text(at_x, free + 4, fit(label, width - (at_x - x)))
            free += 15
