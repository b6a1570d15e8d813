"""Parses `ringlet boot` and `ringlet run` without click, if only the common options are used.

To import click takes longer than everything else. Click parses every other command line, and the
wrong ones. It understands the same words in the same way.
"""

from __future__ import annotations

from ringlet.host.settings import parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The options of `boot`. Each has one value and is named after a key of `MachineConfig`.
OPTIONS = ("--cmdline", "--initrd", "--memory", "--serial")
# The options of `run`, whose values go to `Workload`: the options with one value; the options
# that may be repeated, with their keys; the options without a value.
RUN_OPTIONS = ("--hostname", "--memory", "--user", "--workdir")
RUN_LISTS = {"--env": "env", "--volume": "volumes"}
RUN_FLAGS = ("--read-only", "--write")


def parse(arguments: list[str]) -> dict[str, Any] | None:
    """Returns the keys for `MachineConfig` that `arguments` of `ringlet boot` set.

    Returns None if click has to parse the arguments. Raises `ConfigError` as the command does.
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


def parse_run(arguments: list[str]) -> dict[str, Any] | None:
    """Returns the keys for `Workload` that `arguments` of `ringlet run` set.

    Returns None if click has to parse the arguments. Raises `ConfigError` as the command does.
    """
    values: dict[str, Any] = {}
    words = iter(arguments)
    for word in words:
        if word in RUN_FLAGS:
            values[word[2:].replace("-", "_")] = True
        elif word in RUN_OPTIONS or word in RUN_LISTS:
            value = next(words, "-")
            if value.startswith("-") or word[2:] in values:
                return None
            if word in RUN_LISTS:
                values.setdefault(RUN_LISTS[word], []).append(value)
            else:
                values[word[2:]] = value
        else:
            values["rootfs"] = word
            break
    command = list(words)
    if command[:1] == ["--"]:
        command = command[1:] or ["-"]
    if values.get("rootfs", "-").startswith("-") or (command[:1] and command[0].startswith("-")):
        return None
    values["command"] = tuple(command)
    if "memory" in values:
        values["memory"] = parse_size(values["memory"])
    if "env" in values:
        from ringlet.host.workload import parse_variable

        values["env"] = dict(map(parse_variable, values["env"]))
    return values
