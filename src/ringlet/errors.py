"""The one family of exceptions: each says what happened and what to do about it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class RingletError(Exception):
    """Something ringlet could not do.

    `message` is one line of what happened, `hint` one line of what to do. The command line
    prints both and no traceback, and ends with `status`. A traceback has the hint as a note.
    """

    status = 125

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.add_note(f"hint: {hint}")


class ConfigError(RingletError):
    """An option or a key of the configuration that can't be used."""


class ImageError(RingletError):
    """An image that can't be opened, or that no boot protocol accepts."""


def near(word: str, known: Iterable[str]) -> str:
    """The beginning of a hint: which of `known` is near to `word`; empty if there is none."""
    from difflib import get_close_matches  # imported when there is an error to show

    close = get_close_matches(word, known, 1)
    return f"did you mean `{close[0]}`? " if close else ""
