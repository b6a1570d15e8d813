"""Parses the words of a command line by a table of options.

argparse isn't used: to import argparse takes longer than to run a container. Options are parsed as
runc parses them (by the Go packages flag and urfave/cli): `--name VALUE`, `--name=VALUE`, with one
dash or two, before or after the arguments.
"""

from __future__ import annotations

from ringlet.errors import ConfigError, near

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Option:
    """An option. `names`: the long name first. `value`: its name in the help; None for a switch."""

    __slots__ = ("help", "many", "names", "value")

    def __init__(self, names: str, value: str | None, help: str, *, many: bool = False) -> None:
        self.names = names.split()
        self.value = value
        self.help = help
        self.many = many  # the option may be repeated; its value is a list


class OptionError(ConfigError):
    """An error in the command line."""


HELP = Option("help h", None, "show this and do nothing")


def parse(
    words: list[str], options: tuple[Option, ...], *, mixed: bool = True
) -> tuple[dict[str, Any], list[str]]:
    """Returns the values of the options, by long name, and the arguments.

    Unless `mixed`, the first argument ends the options: all words after it are arguments.
    """
    known = {name: option for option in (*options, HELP) for name in option.names}
    values: dict[str, Any] = {}
    arguments: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            break
        if word[:1] != "-" or word == "-":
            arguments.append(word)
            if mixed:
                continue
            break
        name, given, value = word.lstrip("-").partition("=")
        option = known.get(name)
        if option is None:
            long = [f"--{each}" for each in known if len(each) > 1]
            hint = near(word, long, "--help lists them")
            raise OptionError(f"unknown option {word}", hint)
        key = option.names[0]
        if option.value is None:
            values[key] = _switch(word, value) if given else True
            continue
        if not given:
            following = next(rest, None)
            if following is None:
                raise OptionError(f"{word} needs a value", f"{word} {option.value}")
            value = following
        if option.many:
            values.setdefault(key, []).append(value)
        else:
            values[key] = value
    return values, arguments + list(rest)


def is_number(text: str) -> bool:
    """Returns whether `text` is a few digits alone, which int() takes without an error."""
    return text.isascii() and text.isdecimal() and len(text) < 19


def number(values: dict[str, Any], name: str) -> int:
    """Returns the whole number that option `name` gives, or 0."""
    text: str = values.get(name, "0")
    if not is_number(text):
        raise OptionError(f"--{name} {text}: no whole number, 0 or more", f"--{name} 0")
    return int(text)


def explain(options: tuple[Option, ...]) -> str:
    """Returns the help text of the options, one line each."""
    lines = []
    for option in (*options, HELP):
        names = ", ".join(("-" if len(name) == 1 else "--") + name for name in option.names)
        lines.append((f"{names} {option.value}" if option.value else names, option.help))
    width = max(len(left) for left, _ in lines)
    return "\n".join(f"  {left:{width}}  {right}" for left, right in lines)


def _switch(word: str, value: str) -> bool:
    if value.lower() in ("1", "t", "true"):
        return True
    if value.lower() in ("0", "f", "false"):
        return False
    raise OptionError(f"{word}: neither true nor false", word.partition("=")[0])
