"""The panels that show the steps of a run from its beginning to its end, and its phases."""

from __future__ import annotations

import colorsys

from ringlet.compare.showing.panels import (
    GRID,
    INK,
    LARGEST,
    LETTER,
    MUTED,
    PAPER,
    Rows,
    can_be_drawn,
    colour,
    draw_head,
    fit,
    has_median,
    make_scale,
    wrap,
)
from ringlet.compare.words import clean, heading, number, quantity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringlet.compare.report import Cell, ReportedMeasure, ReportedWay
    from ringlet.compare.showing.panels import Canvas

STEP = ", to "  # in a title, it stands between the beginning and the step
_MARKS = "|os^Dv"  # the marks of the steps
_MOST_PHASES = 12  # the most phases of a cell
# The colours of a chart's phases, in the order of the phases. More colours are computed.
_COLOURS = (
    "#0b6cb0", "#e3a21a", "#12936b", "#d1540b", "#8a63c9", "#5cb3e4", "#9c2f5f", "#9aa62e",
    "#6b7683", "#d98cb3", "#2f7f86", "#b98a4e",
)  # fmt: skip


def phase_colour(at: int) -> str:
    """Returns the colour of the phase with index `at` in a chart: each phase has its own."""
    if at < len(_COLOURS):
        return _COLOURS[at]
    red, green, blue = colorsys.hsv_to_rgb(at * 0.618 % 1, 0.5 + at % 3 * 0.2, 0.5 + at % 4 * 0.1)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def keys(names: Sequence[str], width: float) -> list[tuple[float, int, str]]:
    """Lays out a legend in lines of `width`: the x position, the line and the text of each name."""
    found, x, line = [], 0.0, 0
    for name in names:
        text = fit(name, width - 18)
        size = 18 + 14 + len(text) * 12 * LETTER
        if x and x + size > width:
            x, line = 0.0, line + 1
        found.append((x, line, text))
        x += size
    return found or [(0.0, 0, "")]


class Steps:
    """Measures from one beginning to several steps: a row for each way, a mark for each step."""

    is_wide = True

    def __init__(self, measures: Sequence[ReportedMeasure], ways: Sequence[ReportedWay]) -> None:
        self.title = "How long until each step"
        self._unit = measures[0].unit
        begins = dict.fromkeys(measure.title.partition(STEP)[0] for measure in measures)
        self._steps = list(dict.fromkeys(measure.title.partition(STEP)[2] for measure in measures))
        self._blocks = []
        for begin in begins:
            rows = [row for row in measures if row.title.partition(STEP)[0] == begin]
            lines = [(at, way, self._cells(rows, way)) for at, way in enumerate(ways)]
            self._blocks.append((begin, [line for line in lines if line[2]]))

    def _cells(self, rows: Sequence[ReportedMeasure], way: ReportedWay) -> list[tuple[int, Cell]]:
        """Returns the cells of a way, each with the number of its step."""
        found = ((row, row.ways.get(way.name)) for row in rows)
        return [
            (self._steps.index(row.title.partition(STEP)[2]), cell)
            for row, cell in found
            if cell is not None and has_median(cell)
        ]

    def _all(self) -> list[Cell]:
        return [cell for _, lines in self._blocks for *_, cells in lines for _, cell in cells]

    def height(self, narrow: bool, width: float) -> float:
        """Returns the height in pixels."""
        rows = sum(len(lines) for _, lines in self._blocks)
        lines = keys(self._steps, width)[-1][1] + 1
        return 40 + 18 * lines + len(self._blocks) * 26 + rows * (38 if narrow else 24) + 20

    def tell(self) -> str:
        """Returns a text that says what the panel shows."""
        found = (
            f"{clean(begin, 80)}, {clean(way.title, 60)}: "
            + ", ".join(
                f"{clean(self._steps[step], 80)} {quantity(cell.median or 0, self._unit)}"
                for step, cell in cells
            )
            for begin, lines in self._blocks
            for _, way, cells in lines
        )
        return f"{self.title}: {'; '.join(found)}"

    def notes(self) -> list[str]:
        """Returns the notes on the panel's numbers."""
        return [cell.note for cell in self._all() if cell.note]

    def draw(self, canvas: Canvas, x: float, y: float, width: float, narrow: bool) -> None:
        """Draws the panel with its top left at `x`, `y`."""
        left, right = (x, x + width) if narrow else (x + 112, x + width - 110)
        scale = make_scale(self._all(), left, right)
        below = f"{clean(self._unit, 20)}, less is better" + ", logarithmic scale" * scale.log
        y = draw_head(canvas, x, y, [self.title], below)
        for step, (key_x, key_line, text) in enumerate(keys(self._steps, width)):
            key_y = y + 18 * key_line
            canvas.line([x + key_x + 6], [key_y + 8], marker=_marker(step), **_mark(INK))
            canvas.text(x + key_x + 18, key_y + 12, text, color=MUTED)
        y += 18 * (keys(self._steps, width)[-1][1] + 1)
        top, row = y + 20, 38 if narrow else 24
        end = y + len(self._blocks) * 26 + sum(len(lines) for _, lines in self._blocks) * row
        for tick in scale.ticks():
            place = scale(tick)
            canvas.line([place] * 2, [top, end], color=GRID, zorder=0)
            canvas.text(
                place, end + 13, f"{tick:,g}", size=10, color=MUTED, right=place > right - 10,
                middle=left + 10 < place <= right - 10,
            )  # fmt: skip
        for begin, lines in self._blocks:
            y += 26
            canvas.text(x, y - 7, fit(heading(begin), width), bold=True)
            for at, way, cells in lines:
                color, line = colour(way.name, at), y + (26 if narrow else 9)
                canvas.text(x, y + 13, fit(way.title, width - 100 if narrow else 110))
                last = cells[-1][1]
                value = fit(quantity(last.median or 0, self._unit), 110)
                mark = canvas.marks.get(last.note or "", "")
                canvas.text(x + width, y + 13, value + mark, right=True)
                places = [scale(cell.median or 0) for _, cell in cells]
                canvas.line([left, max(places)], [line] * 2, color=color, alpha=0.45)
                for (step, _), place in zip(cells, places, strict=True):
                    canvas.line([place], [line], marker=_marker(step), **_mark(color))
                y += row


def _marker(step: int) -> str:
    return _MARKS[step % len(_MARKS)]


def _mark(color: str) -> dict[str, object]:
    return {
        "color": color, "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.75,
        "linestyle": "none",
    }  # fmt: skip


class Phases(Rows):
    """The phases of a median, as shares of each way's whole. Each phase has its colour."""

    row = (44.0, 66.0)
    is_wide = True

    def __init__(self, measure: ReportedMeasure, ways: Sequence[ReportedWay]) -> None:
        super().__init__(measure, ways)
        self.rows = [row for row in self.rows if phases(row[2])]
        names = dict.fromkeys(name for _, _, cell in self.rows for name, _ in phases(cell))
        self._names = list(names)

    def height(self, narrow: bool, width: float) -> float:
        """Returns the height in pixels, including the names of the colours."""
        left, right = (0.0, width) if narrow else (112.0, width - 88)
        self.foot = 8.0 + 18 * (1 + keys(self._names, right - left)[-1][1])
        return super().height(narrow, width)

    def draw(self, canvas: Canvas, x: float, y: float, width: float, narrow: bool) -> None:
        """Draws the rows, and the legend of the colours."""
        super().draw(canvas, x, y, width, narrow)
        left, right = (x, x + width) if narrow else (x + 112, x + width - 88)
        top = y + self.height(narrow, width) - self.foot + 4
        for at, (key_x, line, text) in enumerate(keys(self._names, right - left)):
            canvas.box(left + key_x, top + 18 * line + 2, 11, 11, facecolor=phase_colour(at))
            canvas.text(left + key_x + 16, top + 18 * line + 12, text, color=MUTED)

    def below(self) -> str:
        """Returns what a length means."""
        return "the parts, as shares of each way's whole"

    def tell(self) -> str:
        """Returns a text that says what the panel shows."""
        found = (f"{clean(way.title, 60)}: {self._parts(cell)}" for _, way, cell in self.rows)
        return f"{self.title}, in parts: {'; '.join(found)}"

    def is_begun_by(self, other: Phases) -> bool:
        """Returns whether the phases of `other` begin with these phases and go on, for each way."""
        names = {way.name: [name for name, _ in phases(cell)] for _, way, cell in self.rows}
        longer = {way.name: [name for name, _ in phases(cell)] for _, way, cell in other.rows}
        return names != longer and all(
            longer.get(way, [])[: len(parts)] == parts for way, parts in names.items()
        )

    def _parts(self, cell: Cell) -> str:
        return ", ".join(f"{name} {number(value, 2)}" for name, value in phases(cell))

    def draw_row(
        self, canvas: Canvas, cell: Cell, color: str, left: float, right: float, y: float
    ) -> None:
        """Draws the phases, each in its colour, and their numbers below."""
        parts = phases(cell)
        whole = sum(value for _, value in parts)
        x = left
        for at, (name, value) in enumerate(parts):
            width = value / whole * (right - left)
            canvas.box(x, y + 2, width, 14, facecolor=phase_colour(self._names.index(name)))
            if at:
                canvas.line([x, x], [y + 2, y + 16], color=PAPER, linewidth=1.5)
            x += width
        for line in wrap(self._parts(cell), right - left, 10.5, LETTER):
            y += 13
            canvas.text(left, y + 15, line, size=10.5, color=MUTED)


def phases(cell: Cell) -> list[tuple[str, float]]:
    """Returns the phases that can be drawn, or none if there are fewer than two."""
    parts = [
        (clean(name, 40).replace("_", " "), value)
        for name, value in list(cell.phases.items())[:_MOST_PHASES]
        if can_be_drawn(value) and value > 1 / LARGEST
    ]
    return parts if len(parts) > 1 else []
