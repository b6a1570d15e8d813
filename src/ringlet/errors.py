"""The exceptions of ringlet: each says what happened and what to do about it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


_SIMILAR = 0.65  # of 1, by difflib's measure: run and rnu are similar, verbose and errors are not
_BEGINNING = 3  # characters of a word's beginning that name the word
_MOST = 100  # characters of a word that are looked at


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


def near(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Returns a hint that names the word of `known` similar to `word`, and then says `otherwise`.

    The dashes of options don't count, or all options would be similar. A long enough beginning of
    one word is similar to that word.
    """
    from difflib import get_close_matches  # imported only for an error

    bare = {each.lstrip("-"): each for each in known}
    given = word.lstrip("-")[:_MOST]
    close = get_close_matches(given, bare, 1, _SIMILAR)
    if not close and len(given) >= _BEGINNING:
        begun = [each for each in bare if each.startswith(given)]
        close = begun if len(begun) == 1 else []
    return " ".join(
        [*(f"did you mean `{bare[each]}`?" for each in close), *filter(None, [otherwise])]
    )
