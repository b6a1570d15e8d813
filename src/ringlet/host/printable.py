"""Makes text that others wrote safe to show: one line, without control characters."""

from __future__ import annotations


def printable(text: str | bytes, most: int = 200) -> str:
    """Returns `text` as one printable line of at most `most` characters.

    Bytes are taken as UTF-8. U+FFFD stands for each character that a terminal could obey, or that
    isn't visible.
    """
    if isinstance(text, bytes):
        text = text[: 4 * most + 4].decode("utf-8", "replace")
    if len(text) > most:
        text = text[: most - 1] + "…"
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
