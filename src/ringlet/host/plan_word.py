"""A word of a plan, as our programs in C read it: %XX is the byte of that hexadecimal number.

Source: csrc/init/plan.c and csrc/container, which read words.
"""

from __future__ import annotations

import os


def is_plain(text: str) -> bool:
    """Whether `text`, a word or several without what is between them, is as it stands in a plan."""
    return text.isascii() and text.isprintable() and " " not in text and "%" not in text


def plan_word(word: str) -> str:
    """`word` in printable ASCII, without a space; each other byte and the percent sign is %XX."""
    if is_plain(word):
        return word
    return "".join(
        chr(byte) if 0x20 < byte < 0x7F and byte != 0x25 else f"%{byte:02X}"
        for byte in os.fsencode(word)
    )
