"""Writes a report as one self-contained HTML page: `ringlet compare --html FILE`.

The page has no script and loads nothing from the network (host/static_page.py), since the contents
of a report are hostile. The contents are escaped, too.
Sources: HTML (WHATWG); WCAG 2.2 (W3C).
"""

from __future__ import annotations

import re
from functools import partial
from html import escape
from importlib.resources import files

from ringlet.compare.report import groups
from ringlet.compare.showing import charts
from ringlet.compare.showing.panels import colour, has_median, has_numbers
from ringlet.compare.showing.verdict import disturbed, incomplete, ratio_to, verdict
from ringlet.compare.words import clean, heading, number, quantity, slug
from ringlet.errors import RingletError
from ringlet.host.static_page import static_page

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ringlet.compare.report import Cell, Host, Report, ReportedMeasure, ReportedWay

MOST_CHARTS = 24
KVM = {
    "hardware": "in hardware: the processor runs the guests itself",
    "software": "in software: something below this host emulates it, so that the times of the VMs "
    "tell of the emulation as well",
    "none": "none that can be used here: no VM was run",
}
# The colours of ways on a dark page, for those whose colour on a light page lacks contrast there.
DARK = {
    "#6b7683": "#95a0ad",
    "#0b6cb0": "#3f9fe0",
    "#d1540b": "#f0763a",
    "#9c2f5f": "#cf6596",
    "#4b4fa3": "#8588dd",
}


def write(report: Report, path: str) -> None:
    """Writes `report` as one HTML file. Raises `RingletError`."""
    page = render(report).encode()
    try:
        with open(path, "wb") as file:
            file.write(page)
    except OSError as error:
        raise RingletError(
            f"can't write {clean(path)}: {error.strerror}", "name another file"
        ) from None


def render(report: Report) -> str:
    """Returns `report` as HTML. Raises `RingletError` without matplotlib."""
    charts.require()
    by_group = groups(report)
    anchors = {group: f"group-{at}-{slug(group)}" for at, group in enumerate(by_group)}
    drawn: dict[str, list[str]] = {}
    for name, chart in list(charts.charts(report).items())[:MOST_CHARTS]:
        drawn.setdefault(chart.group, []).append(name)
    body = [
        *_head(report, anchors),
        *_ways(report.ways),
        *(
            line
            for group, measures in by_group.items()
            for line in _group(report, group, anchors[group], measures, drawn.get(group, []))
        ),
        *_made(report),
    ]
    title = f"ringlet compare: {_text(report.host.machine, 80)}, {_text(report.created, 40)}"
    return static_page(title, _style(), body)


def _style() -> str:
    css = files(__package__).joinpath("page.css").read_text()
    dark = "".join(
        f'svg [{name}="{light}"] {{ {name}: {color}; }}\n'
        for light, color in DARK.items()
        for name in ("fill", "stroke")
    )
    return f"{css}@media screen and (prefers-color-scheme: dark) {{\n{dark}}}\n"


def _text(text: str, most: int = 2000) -> str:
    return escape(clean(text, most))


def _heading(text: str, most: int = 200) -> str:
    return escape(heading(text, most))


def _prose(text: str) -> str:
    """Returns `text` as HTML, in which text between backticks is code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", _text(text))


def _key(way: ReportedWay, at: int) -> str:
    return (
        '<svg class="key" viewBox="0 0 10 10" aria-hidden="true">'
        f'<rect width="10" height="10" rx="2" fill="{colour(way.name, at)}"/></svg>'
    )


def _named(way: ReportedWay, at: int) -> str:
    return f"{_key(way, at)}{_text(way.title, 60)}"


def _head(report: Report, anchors: Mapping[str, str]) -> Iterator[str]:
    """Yields the head of the page: the verdict, links to the parts, and the warnings."""
    yield "<header>"
    yield "<h1>The same work, side by side</h1>"
    if said := verdict(report):
        yield f'<p class="lead">{_prose(said)}</p>'
    measured = sum(any(way.name in m.ways for way in report.ways) for m in report.measures)
    kvm = "no KVM" if report.host.kvm == "none" else f"KVM in {_text(report.host.kvm, 40)}"
    yield (
        f'<p class="muted">{_count(len(report.ways), "way")} to run it, '
        f"{_count(measured, 'question')} asked of each, in turns, on one machine: "
        f"{_text(report.host.processor, 120)}; {_text(report.host.kernel, 120)}; {kvm}; "
        f"{_text(report.created, 40)}.</p>"
    )
    links = [
        ("ways", "The ways"),
        *((anchor, _heading(group, 80)) for group, anchor in anchors.items()),
        ("made", "When and where"),
    ]
    items = "".join(f'<li><a href="#{anchor}">{title}</a></li>' for anchor, title in links)
    yield f'<nav aria-label="Parts of this page"><ul>{items}</ul></nav>'
    yield "</header>"
    yield "<main>"
    for title, text in _warnings(report):
        yield f'<p class="told"><strong>{title}</strong> {_prose(text)}</p>'


def _warnings(report: Report) -> Iterator[tuple[str, str]]:
    if said := incomplete(report):
        yield "This run is incomplete.", f"{said} Its numbers may rest on few runs."
    if said := disturbed(report):
        yield "The host had other work.", said
    if report.host.kvm == "software":
        yield (
            "KVM is in software here.",
            "What the VMs' numbers tell is as much about the emulation as about VMs.",
        )


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _ways(ways: Iterable[ReportedWay]) -> Iterator[str]:
    yield '<section aria-labelledby="ways">'
    yield '<h2 id="ways">The ways</h2>'
    yield '<dl class="facts">'
    for at, way in enumerate(ways):
        error = "" if way.error is None else f" <strong>Not here:</strong> {_prose(way.error)}"
        yield f"<dt>{_named(way, at)}</dt><dd>{_prose(heading(way.about))}{error}</dd>"
    yield "</dl>"
    yield "</section>"


def _group(
    report: Report, group: str, anchor: str, measures: list[ReportedMeasure], drawn: list[str]
) -> Iterator[str]:
    """Yields a group of measures: a sentence, the charts, the texts, and then all numbers."""
    yield f'<section aria-labelledby="{anchor}">'
    yield f'<h2 id="{anchor}">{_heading(group, 80)}</h2>'
    first = max(measures, key=lambda row: min(sum(map(has_median, row.ways.values())), 2))
    in_charts = [row for row in measures if drawn and has_numbers(row, report.ways)]
    if first in in_charts and first.meaning:
        yield f"<p>{_prose(first.meaning)}</p>"
    yield from map(partial(_figure, report), drawn[:1])
    notes: dict[tuple[str, str], int] = {}
    if texts := [row for row in measures if row not in in_charts]:
        yield from _table(report.ways, anchor, texts, notes)
        yield from _notes(anchor, notes, 0)
    yield "<details>"
    yield "<summary>All numbers in detail</summary>"
    yield from map(partial(_figure, report), drawn[1:])
    if in_charts:
        seen = len(notes)
        yield from _table(report.ways, anchor, in_charts, notes)
        yield from _notes(anchor, notes, seen)
    yield from _how(report.ways, measures)
    yield "</details>"
    yield "</section>"


def _figure(report: Report, name: str) -> str:
    return (
        f'<figure class="chart"><div class="wide">{charts.draw(report, name)}</div>'
        f'<div class="narrow">{charts.draw(report, name, narrow=True)}</div></figure>'
    )


def _notes(anchor: str, notes: Mapping[tuple[str, str], int], seen: int) -> Iterator[str]:
    """Yields the notes after the first `seen`."""
    if len(notes) > seen:
        yield f'<ol class="notes" start="{seen + 1}">'
        for (title, note), at in list(notes.items())[seen:]:
            yield f'<li id="{anchor}-note-{at}">{_text(title, 60)}: {_prose(note)}</li>'
        yield "</ol>"


def _table(
    ways: list[ReportedWay],
    anchor: str,
    measures: list[ReportedMeasure],
    notes: dict[tuple[str, str], int],
) -> Iterator[str]:
    base = next((way for way in ways if way.error is None), None)
    shown = [(at, way) for at, way in enumerate(ways) if _is_shown(way, measures)]
    yield "<table>"
    heads = "".join(f'<th scope="col">{_named(way, at)}</th>' for at, way in shown)
    yield f'<thead><tr><th scope="col">Measure</th>{heads}</tr></thead>'
    for measure in measures:
        cells = [
            f'<td><span class="way">{_named(way, at)}</span>'
            f"<span>{_cell(way, measure, anchor, notes, base)}</span></td>"
            for at, way in shown
        ]
        title = _heading(measure.title)
        yield f'<tbody><tr class="row"><th scope="row">{title}</th>{"".join(cells)}</tr>'
        if measure.meaning:
            yield (
                f'<tr class="meaning"><td colspan="{len(shown) + 1}">'
                f"{_prose(measure.meaning)}</td></tr>"
            )
        yield "</tbody>"
    yield "</table>"
    if any(cell.median is not None for measure in measures for cell in measure.ways.values()):
        ratio = f"; 2x: so many times what it is of {_text(base.title, 60)}" if base else ""
        yield f'<p class="legend">Medians. ± half the distance of the quartiles{ratio}.</p>'


def _is_shown(way: ReportedWay, measures: Iterable[ReportedMeasure]) -> bool:
    """Returns whether `way` has more to show than the reason why it is unavailable."""
    cells = (measure.ways.get(way.name) for measure in measures)
    return way.error is None or any(cell and cell.error != way.error for cell in cells)


def _cell(
    way: ReportedWay,
    measure: ReportedMeasure,
    anchor: str,
    notes: dict[tuple[str, str], int],
    base: ReportedWay | None,
) -> str:
    cell = measure.ways.get(way.name)
    if way.error is not None and (cell is None or cell.error == way.error):
        return '<span class="why">not here</span>'
    if cell is None:
        return '<span class="why">not measured</span>'
    if cell.error is not None:
        return f'<span class="why">{_prose(heading(cell.error, 2000))}</span>'
    mark = ""
    if cell.note:
        at = notes.setdefault((way.title, cell.note), len(notes) + 1)
        mark = f'<sup><a href="#{anchor}-note-{at}" aria-label="Note {at}">{at}</a></sup>'
    return _value(cell, measure, mark, measure.ways.get(base.name) if base else None)


def _value(cell: Cell, measure: ReportedMeasure, mark: str, base: Cell | None) -> str:
    if cell.median is not None:
        about = [f"±{number(abs(cell.spread) / 2, 2)}"] if cell.spread else []
        about += filter(None, [ratio_to(cell, base)])
        below = f'<span class="about">{" ".join(about)}</span>' if about else ""
        return f"<b>{_text(quantity(cell.median, measure.unit))}</b>{mark}{below}"
    if cell.text is not None:
        return f'<span class="text">{_text(cell.text).replace(",", ",<wbr>")}</span>{mark}'
    return f'<span class="why">not measured</span>{mark}'


def _how(ways: list[ReportedWay], measures: list[ReportedMeasure]) -> Iterator[str]:
    yield "<p>What the commands name is there after <code>ringlet compare --keep FOLDER</code>.</p>"
    for measure in measures:
        yield f"<section><h3>{_heading(measure.title)}</h3><p>{_prose(measure.how)}</p>"
        items = []
        for at, way in enumerate(ways):
            cell = measure.ways.get(way.name)
            if cell is not None and cell.command:
                runs = f", {_count(len(cell.samples), 'run')}" if cell.samples else ""
                command = _text(cell.command, 4000)
                items.append(f"<li>{_named(way, at)}{runs}:<br><code>{command}</code></li>")
        if items:
            yield f"<ul>{''.join(items)}</ul>"
        yield "</section>"


def _made(report: Report) -> Iterator[str]:
    yield '<section aria-labelledby="made">'
    yield '<h2 id="made">When and where</h2>'
    yield '<dl class="facts">'
    for title, text in _facts(report, report.host):
        yield f"<dt>{title}</dt><dd>{text}</dd>"
    yield "</dl>"
    yield "</section>"
    yield "</main>"


def _facts(report: Report, host: Host) -> Iterator[tuple[str, str]]:
    yield "When", f"{_text(report.created, 40)}, in {_text(number(report.seconds))} seconds"
    yield "Command", f"<code>{_text(report.command)}</code>"
    yield "Machine", _text(host.machine, 200)
    yield "Processor", f"{_text(host.processor, 200)}, {_count(host.processors, 'CPU')}"
    yield "Memory", f"{_text(number(host.memory / (1 << 30)))} GiB"
    yield "Kernel", _text(host.kernel, 200)
    yield "KVM", KVM.get(host.kvm) or _text(host.kvm, 200)
    if host.virtualization != "none":
        yield "In a VM", f"itself a guest of {_text(host.virtualization, 200)}"
    versions = (f"{_text(name, 60)} {_text(text, 60)}" for name, text in host.versions.items())
    yield "Versions", ", ".join(versions)
