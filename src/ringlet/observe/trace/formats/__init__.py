"""The formats of a trace: for people, JSON lines, Chrome's and Perfetto's format, and a page."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.observe.trace.events import Subject
    from ringlet.observe.trace.formats.format import Format

NAMES = ("text", "json", "perfetto", "html")
FOR_FILES = ("perfetto", "html")  # nobody reads these on a terminal


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
