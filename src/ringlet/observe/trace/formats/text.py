"""A trace for people: a line for each event, with its fields in columns."""

from __future__ import annotations

from ringlet.host.printable import printable
from ringlet.observe.trace.formats.format import Format
from ringlet.observe.trace.summary import missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ringlet.observe.trace.events import Event, Subject
    from ringlet.observe.trace.summary import Summary


_MOST = 200  # characters of one field


class Text(Format):
    """Lines that end with `newline`. A column gets wider with its first wider text."""

    def __init__(self, subject: Subject, newline: str = "\n") -> None:
        self._subject = subject
        self._newline = newline
        self._widths = [max(column.width, len(column.heading)) for column in subject.columns]
        self._has_events = False

    def events(self, events: Sequence[Event]) -> bytes:
        """Returns a line for each event, and the headings before the first event."""
        lines = []
        if not self._has_events:
            self._has_events = True
            lines.append(self._line(column.heading for column in self._subject.columns))
        lines += [self._line(event.cells()) for event in events]
        return self._encode(lines)

    def gap(self, count: int) -> bytes:
        """Returns a line that says how many events are missing."""
        return self._encode([f"... {missing(count, self._subject.event)}"])

    def end(self, summary: Summary) -> bytes:
        """Returns the summary, after an empty line."""
        return self._encode([*([""] if self._has_events else []), *summary.lines()])

    def _line(self, cells: Iterable[str]) -> str:
        texts = []
        for at, cell in enumerate(cells):
            if not cell.isprintable() or len(cell) > _MOST:
                cell = printable(cell, _MOST)
            if len(cell) > self._widths[at]:
                self._widths[at] = len(cell)
            width = self._widths[at]
            right = self._subject.columns[at].right
            texts.append(cell.rjust(width) if right else cell.ljust(width))
        return "  ".join(texts).rstrip()

    def _encode(self, lines: list[str]) -> bytes:
        return "".join(line + self._newline for line in lines).encode()
