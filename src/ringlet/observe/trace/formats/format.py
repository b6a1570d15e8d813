"""The base class of the formats of a trace."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringlet.observe.trace.events import Event
    from ringlet.observe.trace.summary import Summary


class Format:
    """Writes a trace, part by part; each method returns the bytes to write next."""

    def begin(self) -> bytes:
        """Returns what stands before the first event."""
        return b""

    def events(self, events: Sequence[Event]) -> bytes:
        """Returns some more events."""
        raise NotImplementedError

    def gap(self, count: int) -> bytes:
        """Returns a note that `count` events are missing here."""
        return b""

    def end(self, summary: Summary) -> bytes:
        """Returns the summary, and what else stands at the end."""
        raise NotImplementedError
