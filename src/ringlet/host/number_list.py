"""Lists of processors, or memory nodes, as the kernel reads and writes them: 0-3,7.

Source: cpuset(7), "List format".
"""

from __future__ import annotations

_DIGITS = 5  # more than any kernel has processors


def parse_ranges(text: str) -> list[tuple[int, int]]:
    """The first and the last number of each part; of "", none. Raises `ValueError`.

    A range may run backwards.
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
    """Each number of the list. Raises `ValueError`."""
    return [n for first, last in parse_ranges(text) for n in range(first, last + 1)]
