"""Says in plain words what is wrong with the words of a command line, and what is meant.

Click finds the errors. Its own words differ from version to version, and the options that it
suggests may be far from the given one.
"""

from __future__ import annotations

import re

import click

from ringlet.errors import near


def explain(error: click.UsageError, path: str) -> tuple[str, str]:
    """Returns what is wrong, and a hint. `path` is the command, such as `ringlet boot`."""
    path = error.ctx.command_path if error.ctx else path
    shows = f"`{path} --help` shows what there is"
    said = error.format_message()
    if isinstance(error, click.NoSuchOption):
        name = error.option_name
        known = _options(error.ctx)
        return f"there is no option {name}", near(name, known, shows)
    if isinstance(error, click.MissingParameter) and error.param is not None:
        return f"{_name(error.param)} is missing", shows
    if isinstance(error, click.BadParameter) and error.param is not None:
        return _bad_value(error, error.param, shows)
    if isinstance(error, click.BadOptionUsage) and "requires" in said:
        return f"{error.option_name} needs a value", shows
    if words := re.fullmatch(r"Got unexpected extra arguments? \((.*)\)", said, re.DOTALL):
        return f"there are more words than the command takes: {words[1]}", shows
    return said, shows


def _options(context: click.Context | None) -> list[str]:
    """Returns the names of all options of the command, without those that only stay for others."""
    if context is None:
        return []
    return [
        name
        for each in context.command.get_params(context)
        if isinstance(each, click.Option) and not each.hidden
        for name in (*each.opts, *each.secondary_opts)
    ]


def _name(parameter: click.Parameter) -> str:
    """Returns the name of an option or an argument, as the help has it."""
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return parameter.human_readable_name


def _bad_value(
    error: click.BadParameter, parameter: click.Parameter, shows: str
) -> tuple[str, str]:
    name, kind = _name(parameter), parameter.type
    quoted = re.search(r"'(.*?)'|(-?[\d.]+) is not in", error.message)  # the given value
    given = "" if quoted is None else quoted[1] or quoted[2]
    but = f", and not {given}" if given else ""
    if isinstance(kind, click.Choice):
        choices = [str(each) for each in kind.choices]
        return f"{name} takes {_joined(choices)}{but}", near(given, choices, shows)
    if isinstance(kind, click.IntRange | click.FloatRange) and "range" in error.message:
        bounds = [f"at least {kind.min}"] * (kind.min is not None)
        bounds += [f"at most {kind.max}"] * (kind.max is not None)
        return f"{name} is {' and '.join(bounds)}{but}", shows
    if isinstance(kind, click.types.IntParamType):
        return f"{name} takes a whole number{but}", shows
    if isinstance(kind, click.types.FloatParamType):
        return f"{name} takes a number{but}", shows
    return f"{name}: {error.message}", shows


def _joined(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
