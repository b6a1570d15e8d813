"""A trace as one self-contained HTML page: a timeline, the summary, and the first events.

The page has no script and loads nothing from the network (host/static_page.py), and all that comes
from a trace is escaped.
Sources: HTML (WHATWG); SVG 2 (W3C).
"""

from __future__ import annotations

from html import escape
from importlib.resources import files
from math import log

from ringlet.host.printable import printable
from ringlet.host.static_page import static_page
from ringlet.observe.trace.formats.format import Format
from ringlet.observe.trace.timeline import density, shares
from ringlet.observe.trace.words import duration, rate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ringlet.observe.trace.events import Event, Subject
    from ringlet.observe.trace.summary import Summary, Times

_BINS = 160  # slices of the timeline
_MOST_GROUPS = 16  # lanes of the timeline
_MOST_ACTORS = 16
_ROWS = 300  # events that are listed one by one
_TICKS = 4


class Page(Format):
    """One page, made at the end. It keeps at most `most` events, and says what it lacks."""

    def __init__(self, subject: Subject, title: str, most: int) -> None:
        self._subject = subject
        self._title = title
        self._most = most
        self._events: list[Event] = []
        self._dropped = 0

    def events(self, events: Sequence[Event]) -> bytes:
        """Keeps the events for the page."""
        room = self._most - len(self._events)
        self._events += events[:room]
        self._dropped += max(len(events) - room, 0)
        return b""

    def gap(self, count: int) -> bytes:
        """Counts missing events."""
        self._dropped += count
        return b""

    def end(self, summary: Summary) -> bytes:
        """Returns the whole page."""
        style = files("ringlet.observe.trace.formats").joinpath("page.css").read_text()
        body = (
            *self._head(summary),
            *self._timeline(summary.seconds),
            *self._summary(summary),
            *self._list(),
        )
        return static_page(f"ringlet trace: {_text(self._title)}", style, body).encode()

    def _head(self, summary: Summary) -> Iterator[str]:
        words = self._subject
        yield f"<h1>{words.event.capitalize()}s of {_text(self._title)}</h1>"
        yield (
            f'<p class="lead">{summary.count:,} {words.event}s in {duration(summary.seconds)}.</p>'
        )
        if self._dropped:
            yield (
                f'<p class="told">The timeline and the list lack {self._dropped:,} {words.event}s, '
                "for which there was no room. The summary counts all of them.</p>"
            )

    # The timeline: bars in SVG, which is stretched to the width of the page, and text beside them.

    def _timeline(self, seconds: float) -> Iterator[str]:
        if not self._events or seconds <= 0:
            return
        yield "<section><h2>Timeline</h2>"
        names: dict[str, None] = {}
        by_actor = shares(self._events, seconds, _BINS)
        for lanes in by_actor.values():
            names.update(dict.fromkeys(lanes))
        part_class = {name: f"part{number % 4}" for number, name in enumerate(names)}
        keys = "".join(
            f'<span class="key"><svg viewBox="0 0 1 1" aria-hidden="true"><rect class="{css}" '
            f'width="1" height="1"/></svg>{_text(name)}</span>'
            for name, css in part_class.items()
        )
        yield (
            '<p class="muted">Each bar: how that time was spent; the empty part of a bar is none '
            f"of these. {keys}</p>"
        )
        yield (
            '<p class="muted">This page has no zoom. <code>--format perfetto</code> writes a file '
            "to zoom into, for ui.perfetto.dev.</p>"
        )
        for actor, lanes in list(by_actor.items())[:_MOST_ACTORS]:
            yield from _lane(f"{self._subject.actor} {actor}", _stack(lanes, part_class), 24)
        group = self._subject.group
        yield f'<p class="muted">Below: when each {group} was busy; darker is more.</p>'
        for group, counts in list(density(self._events, seconds, _BINS).items())[:_MOST_GROUPS]:
            yield from _lane(group, _heat(counts, self._subject.event), 10)
        ticks = "".join(
            f"<span>{duration(seconds * tick / _TICKS) if tick else '0'}</span>"
            for tick in range(_TICKS + 1)
        )
        yield f'<div class="lane"><span></span><div class="ticks">{ticks}</div></div>'
        yield "</section>"

    def _summary(self, summary: Summary) -> Iterator[str]:
        event, group = self._subject.event, self._subject.group
        yield "<section><h2>Summary</h2>"
        for what, rows in (("kind", summary.by_kind()), (group, summary.by_group())):
            if not rows:
                continue
            fails = any(times.errors for times in rows.values())
            counts = (f"{event}s", "errors") if fails else (f"{event}s",)
            yield from _table_head((what, *counts, "a second", "median", "worst", "how long"))
            logs = [bucket for times in rows.values() for bucket in times.histogram]
            first, last = min(logs), max(logs)
            for name, times in rows.items():
                yield from _summary_row(name, times, summary.seconds, (first, last), fails)
            yield "</tbody></table></div>"
            yield (
                f'<p class="muted">How long: {duration(2**first / 1e9)} to '
                f"{duration(2 ** (last + 1) / 1e9)}; each bar is twice as long as the one before."
                "</p>"
            )
        yield "</section>"

    def _list(self) -> Iterator[str]:
        if not self._events:
            return
        some = self._events[:_ROWS]
        event = self._subject.event
        which = (
            f"The first {len(some)} {event}s" if len(some) < len(self._events) else f"All {event}s"
        )
        yield f"<section><h2>{which}</h2>"
        if len(some) < len(self._events):
            yield (
                f'<p class="muted">This page lists {len(some)} {event}s one by one. The timeline '
                f"and the summary have the others, too. <code>--format json</code> writes every "
                f"{event}; --time, --count and the other filters choose which ones.</p>"
            )
        yield from _table_head([column.heading for column in self._subject.columns])
        right = [column.right for column in self._subject.columns]
        for each in some:
            cells = "".join(
                f'<td class="number">{_text(cell)}</td>' if number else f"<td>{_text(cell)}</td>"
                for cell, number in zip(each.cells(), right, strict=True)
            )
            yield f"<tr>{cells}</tr>"
        yield "</tbody></table></div></section>"


def _text(text: str) -> str:
    return escape(printable(text[:200]))


def _lane(name: str, bars: str, height: int) -> Iterator[str]:
    yield (
        f'<div class="lane"><span>{_text(name)}</span>'
        f'<svg viewBox="0 0 {_BINS} 100" preserveAspectRatio="none" height="{height}" role="img" '
        f'aria-label="{_text(name)}">{bars}</svg></div>'
    )


def _stack(lanes: dict[str, list[float]], part_class: dict[str, str]) -> str:
    """Returns the bars of an actor: the parts of each bin upon each other."""
    bars = []
    for at in range(_BINS):
        top = 100.0
        told = ", ".join(f"{name} {lane[at]:.0%}" for name, lane in lanes.items() if lane[at])
        for name, lane in lanes.items():
            height = lane[at] * 100
            if height >= 0.05:
                top -= height
                bars.append(
                    f'<rect class="{part_class[name]}" x="{at}" y="{top:.1f}" width="1.02" '
                    f'height="{height:.1f}"><title>{_text(told)}</title></rect>'
                )
    return "".join(bars)


def _heat(counts: list[int], event: str) -> str:
    """Returns the bars of a group; how dark a bar is shows the logarithm of its count."""
    most = log(1 + max(counts))
    return "".join(
        f'<rect class="heat" x="{at}" width="1.02" height="100" '
        f'fill-opacity="{0.25 + 0.75 * log(1 + count) / most:.2f}">'
        f"<title>{count:,} {event}{'' if count == 1 else 's'}</title></rect>"
        for at, count in enumerate(counts)
        if count
    )


def _table_head(heads: Sequence[str]) -> Iterator[str]:
    cells = "".join(f'<th scope="col">{_text(head)}</th>' for head in heads)
    yield f'<div class="scroll" tabindex="0"><table><thead><tr>{cells}</tr></thead><tbody>'


def _summary_row(
    name: str, times: Times, seconds: float, logs: tuple[int, int], fails: bool
) -> Iterator[str]:
    """Yields a row; `logs` are the histogram's bounds; `fails` adds the number of errors."""
    count, histogram = times.count, times.histogram
    first, last = logs
    most = max(histogram.values())
    bars = "".join(
        f'<rect class="heat" x="{bucket - first + 0.1:.1f}" y="{100 - 100 * number / most:.1f}" '
        f'width="0.8" height="{100 * number / most:.1f}"><title>{duration(2**bucket / 1e9)} to '
        f"{duration(2 ** (bucket + 1) / 1e9)}: {number:,}</title></rect>"
        for bucket, number in histogram.items()
    )
    numbers = (
        f"{count:,}",
        *((f"{times.errors:,}" if times.errors else "",) if fails else ()),
        rate(count / seconds) if seconds else "",
        duration(times.median / 1e9),
        duration(times.worst / 1e9),
    )
    cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
    yield (
        f'<tr><th scope="row">{_text(name)}</th>{cells}<td><svg class="histogram" '
        f'viewBox="0 0 {last - first + 1} 100" preserveAspectRatio="none" aria-hidden="true">'
        f"{bars}</svg></td></tr>"
    )
