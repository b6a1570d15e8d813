"""`ringlet boot` with the options that need no parser: click takes longer to import than all else.

What isn't plain, or is wrong, is left to click, which takes the same words the same way.
"""

from __future__ import annotations

from ringlet.host.settings import parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Each has one value, a key of `MachineConfig`.
OPTIONS = ("--cmdline", "--initrd", "--memory", "--serial")


def parse(arguments: list[str]) -> dict[str, Any] | None:
    """What `ringlet boot ARGUMENTS` asks for, for `MachineConfig`; None where click has to look.

    Raises `ConfigError` as the command does.
    """
    values: dict[str, Any] = {}
    words = iter(arguments)
    for word in words:
        key, value = (word[2:], next(words, "-")) if word in OPTIONS else ("image", word)
        if key in values or value.startswith("-"):
            return None
        values[key] = value
    if "image" not in values:
        return None
    if "memory" in values:
        values["memory"] = parse_size(values["memory"])
    return values
