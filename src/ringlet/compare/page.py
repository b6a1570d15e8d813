"""A report as one page that needs nothing else: `ringlet compare --html FILE`.

It has no script and asks for nothing of the network, which its Content Security Policy makes sure
of: what a report says is hostile, and is escaped on top of that.
Sources: HTML (WHATWG); Content Security Policy Level 3 (W3C), 4.1; WCAG 2.2 (W3C).
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from importlib.resources import files

from ringlet.compare import charts
from ringlet.compare.panels import colour, has_median
from ringlet.compare.report import Cell, Host, Measure, Report, Way, groups
from ringlet.compare.words import clean, heading, number, quantity, slug
from ringlet.errors import RingletError

MOST_CHARTS = 24
TIMES = "\u00d7"
KVM = {
    "hardware": "in hardware: the processor runs the guests itself",
    "software": "in software: something below this host emulates it, so that the times of the VMs "
    "tell of the emulation as well",
    "none": "none that can be used here: no VM was run",
}
# A way's colour on a dark page, where the light one lacks contrast.
DARK = {
    "#6b7683": "#95a0ad",
    "#0b6cb0": "#3f9fe0",
    "#d1540b": "#f0763a",
    "#9c2f5f": "#cf6596",
    "#4b4fa3": "#8588dd",
}


def write(report: Report, path: str) -> None:
    """`report` as one HTML file. Raises `RingletError`."""
    page = render(report).encode()
    try:
        with open(path, "wb") as file:
            file.write(page)
    except OSError as error:
        raise RingletError(
            f"can't write {clean(path)}: {error.strerror}", "name another file"
        ) from None


def render(report: Report) -> str:
    """`report` as HTML. Raises `RingletError` without matplotlib."""
    charts.require()
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    by_group = groups(report)
    anchors = {group: f"group-{at}-{slug(group)}" for at, group in enumerate(by_group)}
    drawn: dict[str, list[str]] = {}
    for name, chart in list(charts.charts(report).items())[:MOST_CHARTS]:
        drawn.setdefault(chart.group, []).append(name)
    body = [
        *_head(report),
        *_findings(report, by_group, anchors),
        *_ways(report.ways),
        *(
            line
            for group, measures in by_group.items()
            for line in _group(report, group, anchors[group], measures, drawn.get(group, []))
        ),
        *_made(report),
    ]
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            f"style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>ringlet compare: {_text(report.host.machine, 80)}, "
            f"{_text(report.created, 40)}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            *body,
            "</body>",
            "</html>\n",
        )
    )


def _style() -> str:
    css = files("ringlet.compare").joinpath("page.css").read_text()
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
    """`text` with what is between backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", _text(text))


def _key(way: Way, at: int) -> str:
    return (
        '<svg class="key" viewBox="0 0 10 10" aria-hidden="true">'
        f'<rect width="10" height="10" rx="2" fill="{colour(way.name, at)}"/></svg>'
    )


def _named(way: Way, at: int) -> str:
    return f"{_key(way, at)}{_text(way.title, 60)}"


def _head(report: Report) -> Iterator[str]:
    measured = sum(any(way.name in m.ways for way in report.ways) for m in report.measures)
    yield "<header>"
    yield "<h1>The same work, side by side</h1>"
    yield (
        f'<p class="lead">{_count(len(report.ways), "way")} to run it and '
        f"{_count(measured, 'question')} asked of each, in turns, on one machine: "
        f"{_text(report.host.processor, 120)}.</p>"
    )
    kvm = "no KVM" if report.host.kvm == "none" else f"KVM in {_text(report.host.kvm, 40)}"
    yield (
        f'<p class="muted">{_text(report.created, 40)}; {_text(report.host.machine, 120)}; '
        f'{_text(report.host.kernel, 120)}; {kvm}. <a href="#made">More on the machine</a></p>'
    )
    yield "</header>"
    yield "<main>"
    if not report.complete:
        yield (
            '<p class="told"><strong>This run is incomplete.</strong> It was interrupted or ran out'
            " of time: what is missing wasn't measured, and the numbers may rest on few runs.</p>"
        )
    if report.host.kvm == "software":
        yield (
            '<p class="told"><strong>KVM is in software here.</strong> What the VMs\' numbers tell '
            "is as much about the emulation as about VMs.</p>"
        )


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _findings(
    report: Report, groups: Mapping[str, list[Measure]], anchors: Mapping[str, str]
) -> Iterator[str]:
    """A card for each group: the first measure of it that has something to compare."""
    yield '<section aria-labelledby="findings">'
    yield '<h2 id="findings">What was found</h2>'
    yield '<ul class="cards">'
    for group, measures in groups.items():
        first = max(measures, key=lambda row: min(sum(map(has_median, row.ways.values())), 2))
        medians = [
            (at, way, cell)
            for at, way in enumerate(report.ways)
            if (cell := first.ways.get(way.name)) is not None and has_median(cell)
        ]
        yield f'<li><h3><a href="#{anchors[group]}">{_heading(group, 80)}</a></h3>'
        if medians:
            yield f'<p class="title">{_heading(first.title, 120)}</p>'
            yield "<dl>"
            for at, way, cell in medians:
                value = _text(quantity(cell.median or 0, first.unit))
                times = f'<span class="times">{"".join(_times(cell, first))}</span>'
                yield f"<dt>{_named(way, at)}</dt><dd>{value}{times}</dd>"
            yield "</dl>"
        if first.meaning:
            yield f'<p class="meaning">{_prose(first.meaning)}</p>'
        for _, way, cell in medians:
            if cell.note:
                yield f'<p class="note">{_text(way.title, 60)}: {_prose(cell.note)}</p>'
        yield "</li>"
    yield "</ul>"
    yield "</section>"


def _ways(ways: Iterable[Way]) -> Iterator[str]:
    yield '<section aria-labelledby="ways">'
    yield '<h2 id="ways">The ways</h2>'
    yield '<ul class="cards">'
    for at, way in enumerate(ways):
        yield f"<li><h3>{_named(way, at)}</h3><p>{_prose(heading(way.about))}</p>"
        if way.error is not None:
            yield f'<p class="note"><strong>Not here:</strong> {_prose(way.error)}</p>'
        yield "</li>"
    yield "</ul>"
    yield "</section>"


def _group(
    report: Report, group: str, anchor: str, measures: list[Measure], drawn: list[str]
) -> Iterator[str]:
    yield f'<section aria-labelledby="{anchor}">'
    yield f'<h2 id="{anchor}">{_heading(group, 80)}</h2>'
    for name in drawn:
        yield (
            f'<figure class="chart"><div class="wide">{charts.draw(report, name)}</div>'
            f'<div class="narrow">{charts.draw(report, name, narrow=True)}</div></figure>'
        )
    notes: dict[tuple[str, str], int] = {}
    yield from _table(report.ways, anchor, measures, notes)
    yield from _how(report.ways, measures)
    yield "</section>"


def _table(
    ways: list[Way], anchor: str, measures: list[Measure], notes: dict[tuple[str, str], int]
) -> Iterator[str]:
    yield "<table>"
    heads = "".join(f'<th scope="col">{_named(way, at)}</th>' for at, way in enumerate(ways))
    yield f'<thead><tr><th scope="col">Measure</th>{heads}</tr></thead>'
    for measure in measures:
        cells = [
            f'<td><span class="way">{_named(way, at)}</span>'
            f"<span>{_cell(way, measure, anchor, notes)}</span></td>"
            for at, way in enumerate(ways)
        ]
        title = _heading(measure.title)
        yield f'<tbody><tr class="row"><th scope="row">{title}</th>{"".join(cells)}</tr>'
        if measure.meaning:
            yield (
                f'<tr class="meaning"><td colspan="{len(ways) + 1}">'
                f"{_prose(measure.meaning)}</td></tr>"
            )
        yield "</tbody>"
    yield "</table>"
    if any(cell.median is not None for measure in measures for cell in measure.ways.values()):
        yield (
            '<p class="legend">Medians. ± half the distance of the quartiles; '
            f"{TIMES} and ÷ how many times from the best of the row.</p>"
        )
    if notes:
        yield '<ol class="notes">'
        for (title, note), at in notes.items():
            yield f'<li id="{anchor}-note-{at}">{_text(title, 60)}: {_prose(note)}</li>'
        yield "</ol>"


def _cell(way: Way, measure: Measure, anchor: str, notes: dict[tuple[str, str], int]) -> str:
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
    return _value(cell, measure, mark)


def _value(cell: Cell, measure: Measure, mark: str) -> str:
    if cell.median is not None:
        about = [f"±{number(abs(cell.spread) / 2, 2)}"] if cell.spread else []
        about += _times(cell, measure)
        below = f'<span class="about">{" ".join(about)}</span>' if about else ""
        return f"<b>{_text(quantity(cell.median, measure.unit))}</b>{mark}{below}"
    if cell.text is not None:
        return f'<span class="text">{_text(cell.text).replace(",", ",<wbr>")}</span>{mark}'
    return f'<span class="why">not measured</span>{mark}'


def _times(cell: Cell, measure: Measure) -> list[str]:
    """How many times from the best of the row it is; empty near to it, or if that says nothing."""
    values = [other.median or 0 for other in measure.ways.values() if has_median(other)]
    best = {"lower": min, "higher": max}.get(measure.better)
    if best is None or not has_median(cell) or min(values) <= 1e-30:
        return []
    times = (cell.median or 0) / best(values)
    if 0.95 < times < 1.05:
        return []
    return [f"{TIMES}{number(times, 2)}" if times > 1 else f"÷{number(1 / times, 2)}"]


def _how(ways: list[Way], measures: list[Measure]) -> Iterator[str]:
    yield "<details>"
    yield "<summary>How each was made, and how to repeat it</summary>"
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
    yield "</details>"


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
