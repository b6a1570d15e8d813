"""Writes a word of a plan as ringlet's C programs read it: %XX is the byte with the hex number XX.

Source: csrc/init/plan.c and csrc/container, which read words.
"""

from __future__ import annotations

import os


def is_plain(text: str) -> bool:
    """Returns whether a plan may hold `text` unchanged; `text` is one word, or several joined."""
    return text.isascii() and text.isprintable() and " " not in text and "%" not in text


def plan_word(word: str) -> str:
    """Returns `word` in printable ASCII; spaces, percent signs and all other bytes become %XX."""
    if is_plain(word):
        return word
    return "".join(
        chr(byte) if 0x20 < byte < 0x7F and byte != 0x25 else f"%{byte:02X}"
        for byte in os.fsencode(word)
    )
