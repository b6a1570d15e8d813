"""The formats of a trace: for people, JSON lines, Chrome's and Perfetto's format, and a page."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringlet.observe.trace.events import Event, Subject
    from ringlet.observe.trace.summary import Summary

NAMES = ("text", "json", "perfetto", "html")
FOR_FILES = ("perfetto", "html")  # nobody reads these on a terminal


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


def make(
    name: str, subject: Subject, *, title: str = "", terminal: bool = False, most: int
) -> Format:
    """Returns the format of this name, one of NAMES.

    title     what is traced
    terminal  whether the output goes to a terminal, which may be in raw mode
    most      how many events the format may keep in memory
    """
    if name == "json":
        from ringlet.observe.trace.formats.json_lines import JsonLines

        return JsonLines()
    if name == "perfetto":
        from ringlet.observe.trace.formats.perfetto import Perfetto

        return Perfetto(subject, title)
    if name == "html":
        from ringlet.observe.trace.formats.page import Page

        return Page(subject, title, most)
    from ringlet.observe.trace.formats.text import Text

    return Text(subject, "\r\n" if terminal else "\n")
