"""JSON without the module `json`, whose imports (`re`, `enum`) take as long as all of ringlet's.

The parser and the writer are the C parts of the standard library. Where a Python lacks these C
parts, the module `json` does the work.

Source: RFC 8259; Python's Lib/json/scanner.py and Lib/json/encoder.py.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def loads(text: str) -> Any:
    """Returns the value of `text`. Raises ValueError as json.loads does, and on deep nesting."""
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
    except SystemError:  # the scanner tries to raise an exception class of the module `json`
        from json import loads as decode

        return decode(text)
    if text[end:].strip(_SPACE):
        raise ValueError(f"there is more after the value, at character {end}")
    return value


def dumps(value: object) -> str:
    """Returns `value` as JSON on one line."""
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
    """The settings that the scanner reads: Python's own numbers, and no NaN or Infinity."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = _no_number


_CONTEXT: Any = _Context
