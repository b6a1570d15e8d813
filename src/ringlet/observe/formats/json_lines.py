"""A trace as JSON lines: an object for each event, and at the end an object with the summary.

docs/trace.schema.json describes each line.
"""

from __future__ import annotations

import msgspec

from ringlet.observe.formats import Format

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringlet.observe.events import Event
    from ringlet.observe.summary import Summary


class JsonLines(Format):
    """One object a line."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()

    def events(self, events: Sequence[Event]) -> bytes:
        """Returns a line for each event."""
        return self._encoder.encode_lines(events)

    def gap(self, count: int) -> bytes:
        """Returns a line that says how many events are missing here."""
        return self._encoder.encode_lines([{"missing": count}])

    def end(self, summary: Summary) -> bytes:
        """Returns a line with the summary."""
        return self._encoder.encode_lines([{"summary": summary.as_json()}])
