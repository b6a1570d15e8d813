"""Formats a report's strings and numbers: each as one line, whatever the report holds."""

from __future__ import annotations

import math
import re

UNITS = {"us": "µs", "percent": "%"}


def clean(text: str, most: int = 2000) -> str:
    """Returns `text` as one printable line of at most `most` characters.

    Characters are replaced that could hide or turn other text (control characters, marks of the
    writing direction), and characters that XML can't hold.
    """
    line = " ".join(text[: 4 * most].split())
    if len(line) > most:
        line = line[: most - 1] + "…"
    return "".join(c if c.isprintable() else "\ufffd" for c in line)


def heading(text: str, most: int = 200) -> str:
    """Returns `text` as a heading: with a capital."""
    text = clean(text, most)
    return text[:1].upper() + text[1:]


def slug(text: str) -> str:
    """Returns `text` as a name for a command line and for an anchor."""
    return re.sub("[^a-z0-9]+", "-", text[:60].lower()).strip("-") or "group"


def number(value: float, digits: int = 3) -> str:
    """Formats `value` with `digits` significant digits, at least those of its integer part."""
    if not math.isfinite(value):
        return "none"
    size = abs(value)
    if size >= 1e7 or 0 < size < 1e-4:
        return f"{value:.{digits - 1}e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    decimals = digits - 1 - math.floor(math.log10(size)) if size else 0
    text = f"{value:,.{max(decimals, 0)}f}"
    return text.partition(".")[0] if size == round(size) else text


def quantity(value: float, unit: str) -> str:
    """Formats `value` with its unit."""
    return f"{number(value)} {clean(UNITS.get(unit, unit), 20)}".strip()
