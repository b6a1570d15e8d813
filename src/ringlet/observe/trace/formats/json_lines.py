"""A trace as JSON lines: an object for each event, and at the end an object with the summary.

docs/trace.schema.json describes each line. The lines are ASCII, so that a terminal shows them and
does nothing else: JSON (RFC 8259, 7) has an escape for each other character.
"""

from __future__ import annotations

import json
import re

import msgspec

from ringlet.observe.trace.formats.format import Format

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringlet.observe.trace.events import Event
    from ringlet.observe.trace.summary import Summary


_NOT_PRINTABLE = re.compile(r"[^ -~\n]")


class JsonLines(Format):
    """One object a line."""

    def events(self, events: Sequence[Event]) -> bytes:
        """Returns a line for each event."""
        return _lines(events)

    def gap(self, count: int) -> bytes:
        """Returns a line that says how many events are missing here."""
        return _lines([{"missing": count}])

    def end(self, summary: Summary) -> bytes:
        """Returns a line with the summary."""
        return _lines([{"summary": summary.as_json()}])


_encode = msgspec.json.Encoder().encode_lines


def _lines(objects: Sequence[object]) -> bytes:
    lines = _encode(objects)
    if lines.isascii() and b"\x7f" not in lines:
        return lines
    text = _NOT_PRINTABLE.sub(lambda match: json.dumps(match[0])[1:-1], lines.decode())
    return text.replace("\x7f", "\\u007f").encode()
