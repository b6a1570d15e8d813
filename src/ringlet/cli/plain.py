"""`ringlet boot` and `ringlet run` with the options that need no parser.

click takes longer to import than all else takes. What isn't plain, or is wrong, is left to click,
which takes the same words the same way.
"""

from __future__ import annotations

from ringlet.host.settings import parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Options of `boot`, each with one value, a key of `MachineConfig`.
OPTIONS = ("--cmdline", "--initrd", "--memory", "--serial")
# Options of `run`: each with one value, a key of `Workload`; those that may be given again, with
# their key; those without a value.
RUN_OPTIONS = ("--hostname", "--memory", "--user", "--workdir")
RUN_LISTS = {"--env": "env", "--volume": "volumes"}
RUN_FLAGS = ("--read-only", "--write")


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


def parse_run(arguments: list[str]) -> dict[str, Any] | None:
    """What `ringlet run ARGUMENTS` asks for, for `Workload`; None where click has to look.

    Raises `ConfigError` as the command does.
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
