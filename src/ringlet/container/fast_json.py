"""JSON without the module `json`, whose import (of `re` and `enum`) takes as long as all of ours.

The parser and the writer are the standard library's own, in C; where a Python has no such parts,
`json` does the work.

Source: RFC 8259; Python's Lib/json/scanner.py and Lib/json/encoder.py.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def loads(text: str) -> Any:
    """The value of `text`. Raises ValueError, as json.loads does, and on nesting too deep."""
    try:
        from _json import make_scanner
    except ImportError:
        from json import loads as decode

        return decode(text)
    try:
        start = len(text) - len(text.lstrip(_SPACE))
        value, end = make_scanner(_CONTEXT)(text, start)
    except StopIteration as error:
        raise ValueError(f"a value is missing at character {error.value}") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except SystemError:  # it wants to say what is wrong, by a class of the module `json`
        from json import loads as decode

        return decode(text)
    if text[end:].strip(_SPACE):
        raise ValueError(f"there is more after the value, at character {end}")
    return value


def dumps(value: object) -> str:
    """`value` on one line."""
    try:
        from _json import encode_basestring_ascii, make_encoder
    except ImportError:
        from json import dumps as encode

        return encode(value)
    encoder = make_encoder(
        None, _refuse, encode_basestring_ascii, None, ": ", ", ", False, False, False
    )
    return "".join(encoder(value, 0))


_SPACE = " \t\n\r"


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is not JSON")


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} has no form in JSON")


class _Context:
    """What the scanner asks: Python's own numbers, and no NaN or Infinity."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = _no_number


_CONTEXT: Any = _Context
