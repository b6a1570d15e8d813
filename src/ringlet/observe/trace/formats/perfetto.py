"""A trace in the Trace Event Format, which Perfetto (ui.perfetto.dev) and chrome://tracing show.

Each vCPU or process is a track. On it, the guest's time is a slice; the event is a slice, with a
slice for each of its parts inside.

Source: "Trace Event Format" (the Chromium authors, 2016), JSON Object Format, Complete Events and
Metadata Events. Times are in microseconds.
"""

from __future__ import annotations

import msgspec

from ringlet.observe.trace.formats.format import Format

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from ringlet.observe.trace.events import Event, Subject
    from ringlet.observe.trace.summary import Summary

_PROCESS = 1
_FIRST_THREAD = 1  # the number of vCPU 0; viewers take thread 0 for an idle processor


class Perfetto(Format):
    """A JSON object with all trace events."""

    def __init__(self, subject: Subject, title: str) -> None:
        self._subject = subject
        self._title = title
        self._actors: set[int] = set()

    def begin(self) -> bytes:
        """Returns the start of the object, with the name of all tracks together."""
        name = msgspec.json.encode(self._metadata("process_name", _FIRST_THREAD, self._title))
        return b'{"displayTimeUnit":"ns","traceEvents":[\n' + name

    def events(self, events: Sequence[Event]) -> bytes:
        """Returns the slices of each event, and the name of each new track."""
        encode = msgspec.json.encode
        return b"".join(b",\n" + encode(slice) for event in events for slice in self._slices(event))

    def gap(self, count: int) -> bytes:
        """Returns a trace event that names the number of missing events."""
        note = self._metadata("missing_events", _FIRST_THREAD, str(count))
        return b",\n" + msgspec.json.encode(note)

    def end(self, summary: Summary) -> bytes:
        """Returns the end of the object, with the summary."""
        return b'\n],"otherData":' + msgspec.json.encode(summary.as_json()) + b"}\n"

    def _metadata(self, name: str, thread: int, value: str) -> dict[str, Any]:
        return {
            "name": name,
            "ph": "M",
            "ts": 0,
            "pid": _PROCESS,
            "tid": thread,
            "args": {"name": value},
        }

    def _slices(self, event: Event) -> Iterator[dict[str, Any]]:
        thread = _FIRST_THREAD + event.actor
        if event.actor not in self._actors:
            self._actors.add(event.actor)
            yield self._metadata("thread_name", thread, f"{self._subject.actor} {event.actor}")
        for part in event.parts:
            if part.start < event.start:
                yield self._slice(thread, part.name, part.name, part.start, part.seconds)
        yield {
            **self._slice(thread, event.title, event.kind, event.start, event.seconds),
            "args": event.as_json(),
        }
        for part in event.parts:
            is_all = (part.start, part.seconds) == (event.start, event.seconds)
            if part.start >= event.start and not is_all:
                yield self._slice(thread, part.name, part.name, part.start, part.seconds)

    def _slice(
        self, thread: int, name: str, category: str, start: float, seconds: float
    ) -> dict[str, Any]:
        return {
            "name": name,
            "cat": category,
            "ph": "X",
            "ts": round(start * 1e6, 3),
            "dur": round(seconds * 1e6, 3),
            "pid": _PROCESS,
            "tid": thread,
        }
