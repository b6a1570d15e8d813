"""The exceptions of ringlet: each says what happened and what to do about it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class RingletError(Exception):
    """A failure of ringlet.

    `message` is one line that says what happened, `hint` one line that says what to do. The command
    line prints both lines, no traceback, and ends with `status`. A traceback has the hint as its
    note.
    """

    status = 125

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.add_note(f"hint: {hint}")


class ConfigError(RingletError):
    """An option, or a key of the configuration, that can't be used."""


class ImageError(RingletError):
    """An image that can't be opened, or that no boot protocol accepts."""


def near(word: str, known: Iterable[str]) -> str:
    """Returns the beginning of a hint that names the word of `known` similar to `word`, or ""."""
    from difflib import get_close_matches  # imported only for an error

    close = get_close_matches(word, known, 1)
    return f"did you mean `{close[0]}`? " if close else ""
