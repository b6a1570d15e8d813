"""The words of a command line, by a table: argparse takes longer to import than a container to run.

Words are taken as the engines' other runtime (runc, by the Go packages flag and urfave/cli) takes
them: `--name VALUE`, `--name=VALUE`, one dash or two, and before or after the arguments.
"""

from __future__ import annotations

from ringlet.errors import ConfigError, near

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Option:
    """`names`: the long one, then others. `value`: how help calls it; None for a switch."""

    __slots__ = ("help", "many", "names", "value")

    def __init__(self, names: str, value: str | None, help: str, *, many: bool = False) -> None:
        self.names = names.split()
        self.value = value
        self.help = help
        self.many = many  # may be given again; the value is a list


class OptionError(ConfigError):
    """A command line that can't be understood."""


HELP = Option("help h", None, "show this and do nothing")


def parse(
    words: list[str], options: tuple[Option, ...], *, mixed: bool = True
) -> tuple[dict[str, Any], list[str]]:
    """What the options say, by long name, and the arguments that are left.

    Unless `mixed`, the first argument ends the options: all that follows is somebody else's.
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
            meant = near(f"--{name}", [f"--{each}" for each in known if len(each) > 1])
            raise OptionError(f"unknown option {word}", f"{meant}--help lists them")
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
    """Whether it is of a few digits alone: of thousands, and of other signs, int() makes errors."""
    return text.isascii() and text.isdecimal() and len(text) < 19


def number(values: dict[str, Any], name: str) -> int:
    """The whole number that option `name` gives, or 0."""
    text: str = values.get(name, "0")
    if not is_number(text):
        raise OptionError(f"--{name} {text}: no whole number, 0 or more", f"--{name} 0")
    return int(text)


def explain(options: tuple[Option, ...]) -> str:
    """The options for --help, a line each."""
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
