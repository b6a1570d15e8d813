"""Draws the charts of a report by matplotlib: `ringlet compare --chart NAME=FILE`.

A chart shows a group of measures, the phases of one measure, or a quantity by the number of
instances. It is written as SVG or PNG. The SVG keeps its text as text, refers to nothing outside,
and uses attributes in place of styles. That is why a page under a strict Content Security Policy
can contain the SVG and style it.
Source: SVG 1.1 (W3C), Appendix N: the properties that are presentation attributes as well.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import warnings
import xml.etree.ElementTree as ET
from contextlib import contextmanager
from io import BytesIO, StringIO
from typing import NamedTuple

from ringlet.compare.report import groups
from ringlet.compare.showing.panels import LETTER, MUTED, Bars, Canvas, Series, has_numbers, wrap
from ringlet.compare.showing.stages import STEP, Phases, Steps
from ringlet.compare.words import clean, heading, slug
from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from matplotlib.figure import Figure

    from ringlet.compare.report import Report, ReportedMeasure, ReportedWay
    from ringlet.compare.showing.panels import Panel

SUFFIXES = (".svg", ".png")
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"
MOST_MEASURES = 60  # the most measures of a group that are drawn
MOST_PANELS = 16  # the most panels of a chart
MARKS = "¹²³⁴⁵⁶"  # the marks of the notes below a chart
GAP = 24  # pixels between two panels
INSTALL = f"{sys.executable} -m pip install matplotlib"  # works in a checkout, too
SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"


class Chart(NamedTuple):
    """A chart: some panels of one group of measures."""

    title: str
    group: str
    panels: Sequence[Panel]

    def tell(self) -> str:
        """Returns a text that says what the chart shows."""
        return clean(f"{self.title}. " + ". ".join(panel.tell() for panel in self.panels), 4000)


def require() -> None:
    """Raises `RingletError` if matplotlib isn't installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise RingletError("charts need matplotlib", INSTALL)


def check_path(path: str) -> str:
    """Returns the suffix of a chart's file. Raises `RingletError` for an unknown format."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in SUFFIXES:
        raise RingletError(
            f"can't draw a chart as {clean(path)}", f"a name that ends in {' or '.join(SUFFIXES)}"
        )
    return suffix


def charts(report: Report) -> dict[str, Chart]:
    """Returns the charts for which `report` has numbers, by their names."""
    found: dict[str, Chart] = {}
    for group, measures in groups(report).items():
        for suffix, panels in _kinds(measures[:MOST_MEASURES], report.ways):
            if panels:
                name = base = slug(group) + suffix
                again = 1
                while name in found:
                    again += 1
                    name = f"{base}-{again}"
                found[name] = Chart(heading(group, 80), group, panels[:MOST_PANELS])
    return found


def names(report: Report) -> list[str]:
    """Returns the names of the report's charts."""
    return list(charts(report))


def _kinds(
    measures: Sequence[ReportedMeasure], ways: Sequence[ReportedWay]
) -> Iterator[tuple[str, list[Panel]]]:
    """Yields the charts of one group: the end of each chart's name, and its panels."""
    by_number: dict[tuple[str, str], dict[int, ReportedMeasure]] = {}
    for measure in measures:
        base, _, count = measure.name.rpartition("-")
        if re.fullmatch("[1-9][0-9]{0,5}", count) and has_numbers(measure, ways):
            by_number.setdefault((base, measure.unit), {})[int(count)] = measure
    series = [sorted(rows.items()) for rows in by_number.values() if len(rows) > 1]
    inside = {id(row) for rows in series for _, row in rows}
    alone = [row for row in measures if id(row) not in inside]
    drawn = [row for row in alone if has_numbers(row, ways)]
    steps = [row for row in drawn if STEP in row.title and row.unit == drawn[0].unit]
    parts = [Phases(row, ways) for row in measures]
    together: list[Panel] = [Steps(steps, ways)] if len(steps) > 1 else []
    yield "", together + [Bars(row, ways) for row in drawn if not together or row not in steps]
    whole = [part for part in parts if not any(map(part.is_begun_by, parts))]
    yield "-phases", [part for part in whole if part.rows]
    yield "-instances", [Series(rows, ways) for rows in series]


def draw(report: Report, name: str, narrow: bool = False) -> str:
    """Draws the chart `name` as SVG, 880 pixels wide, or 300 with `narrow`.

    Raises `RingletError`.
    """
    return _draw(_find(report, name), f"{name}-{'narrow' if narrow else 'wide'}", narrow)


def write(report: Report, name: str, path: str) -> None:
    """Writes the chart `name` on white, as SVG or PNG by the suffix. Raises `RingletError`."""
    suffix = check_path(path)
    chart = _find(report, name)
    paper: dict[str, Any] = {"facecolor": "white", "bbox_inches": "tight", "pad_inches": 0.2}
    if suffix == ".svg":
        data = _draw(chart, name, **paper).encode()
    else:
        file = BytesIO()
        with _style(name):
            _figure(chart, narrow=False).savefig(file, format="png", dpi=144, **paper)
        data = file.getvalue()
    try:
        with open(path, "wb") as output:
            output.write(data)
    except OSError as error:
        raise RingletError(
            f"can't write {clean(path)}: {error.strerror}", "name another file"
        ) from None


def _find(report: Report, name: str) -> Chart:
    require()
    found = charts(report)
    if name not in found:
        choices = ", ".join(found) or "no chart: it has no numbers"
        raise RingletError(f"no chart is called {clean(name, 60)!r}", f"this report has {choices}")
    return found[name]


def _draw(chart: Chart, salt: str, narrow: bool = False, **options: Any) -> str:
    file = StringIO()
    none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with _style(salt):
        _figure(chart, narrow).savefig(file, format="svg", metadata=none, **options)
    return _tidy(file.getvalue(), chart.tell())


@contextmanager
def _style(salt: str) -> Iterator[None]:
    """Sets matplotlib's settings while a chart is drawn, whatever the user's settings are."""
    from matplotlib import style  # noqa: PLC0415 (an optional package)

    ours = {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,  # the same chart has the same ids each time
        "text.parse_math": False,  # a $ is a plain character
        "font.family": "DejaVu Sans",  # this font comes with matplotlib
        "lines.solid_capstyle": "butt",
    }
    with warnings.catch_warnings(), style.context(["default", ours]):
        warnings.simplefilter("ignore")  # about a missing letter: the SVG's reader has other fonts
        yield


def _figure(chart: Chart, narrow: bool) -> Figure:
    """Draws the panels in two columns, or in one."""
    width = 300 if narrow else 880  # a phone scales the chart up, and its text with it
    alone = len(chart.panels) == 1 or any(panel.is_wide for panel in chart.panels)
    columns = 1 if narrow or alone else 2
    column = (width - (columns - 1) * 2 * GAP) / columns
    rows = [chart.panels[at : at + columns] for at in range(0, len(chart.panels), columns)]
    heights = [max(panel.height(narrow, column) for panel in row) for row in rows]
    notes = dict.fromkeys(note for panel in chart.panels for note in panel.notes())
    marks = dict(zip(notes, MARKS, strict=False))
    below = [
        line
        for note, mark in marks.items()
        for line in wrap(f"{mark} {clean(note)}", width, 10.5, LETTER, lines=4)
    ]
    canvas = Canvas(width, sum(heights) + GAP * len(rows) + 14 * len(below) - 10, marks)
    y = 0.0
    for row, height in zip(rows, heights, strict=True):
        for at, panel in enumerate(row):
            panel.draw(canvas, at * (column + 2 * GAP), y, column, narrow)
        y += height + GAP
    for at, line in enumerate(below):
        canvas.text(0, y + 14 * at, line, size=10.5, color=MUTED)
    return canvas.figure


def _tidy(svg: str, description: str) -> str:
    """Removes the parts of matplotlib's SVG that a page can't contain.

    The parts are the doctype, the styles, and ids that another chart of the page may have as well.
    """
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", XLINK)
    root = ET.fromstring(svg[svg.index("<svg") :])
    used = {node.get(f"{{{XLINK}}}href", "")[1:] for node in root.iter()}
    for node in root.iter():
        if node.get("id") not in used:
            node.attrib.pop("id", None)
        for name, value in _properties(node.attrib.pop("style", "")):
            node.set(name, value)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}style", f"{{{SVG}}}metadata"):
                parent.remove(child)
    for name in ("width", "height", "version"):
        del root.attrib[name]
    root.set("role", "img")
    root.set("aria-label", description)
    root.set("font-family", FONTS)
    root.set("stroke-linejoin", "round")
    return ET.tostring(root, encoding="unicode") + "\n"


def _properties(style: str) -> Iterator[tuple[str, str]]:
    """Yields the declarations of a style attribute; for a font, its weight and its size."""
    for declaration in filter(None, style.split(";")):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name == "font":
            size = re.search("([0-9.]+)px", value)
            yield "font-size", size[1] if size else "12"
            if re.match("(bold|[67]00) ", value):
                yield "font-weight", "700"
        else:
            yield name, value
