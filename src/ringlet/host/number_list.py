"""Parses lists of processors or memory nodes, in the kernel's format: 0-3,7.

Source: cpuset(7), "List format".
"""

from __future__ import annotations

_DIGITS = 5  # enough for the number of processors that any kernel supports


def parse_ranges(text: str) -> list[tuple[int, int]]:
    """Returns the first and the last number of each part of the list; no parts for "".

    A range may run backwards. Raises `ValueError` for other text.
    """
    ranges = []
    for part in text.split(",") if text else ():
        first, dash, last = (word.strip(" ") for word in part.partition("-"))
        last = last if dash else first
        for number in (first, last):
            if not (number.isascii() and number.isdecimal() and len(number) <= _DIGITS):
                raise ValueError(f"{number!r} is no number")
        ranges.append((int(first), int(last)))
    return ranges


def parse_numbers(text: str) -> list[int]:
    """Returns each number of the list. Raises `ValueError` for other text."""
    return [n for first, last in parse_ranges(text) for n in range(first, last + 1)]
