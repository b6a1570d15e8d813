"""The process that `exec` runs: from a file, or the container's process changed by options."""

from __future__ import annotations

from ringlet.container.fast_json import loads
from ringlet.container.spec.config_json import MAX_BYTES, check_process
from ringlet.host.named_file import read_named
from ringlet.oci.options import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ringlet.container.spec.types import Process


def edit(values: dict[str, Any], arguments: list[str]) -> Callable[[Process], Process]:
    """Returns a function that makes the process to run from the container's own process."""
    path = values.get("process")
    if path is not None:
        process = _read(path)
        return lambda _: process
    if not arguments:
        raise OptionError("there is nothing to run", "ringlet-oci exec ID COMMAND, or --process")
    return lambda process: _edited(process, values, arguments)


def _read(path: str) -> Process:
    try:
        value = loads(read_named(path, MAX_BYTES).decode())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise OptionError(f"{path}: {why}", "it has to be JSON, `process` of config.json") from None
    return check_process(value)


def _edited(process: Process, values: dict[str, Any], arguments: list[str]) -> Process:
    new: Any = {**process, "args": arguments, "terminal": values.get("tty", False)}
    user: dict[str, Any] = {**process["user"]}
    new["user"] = user
    new["env"] = [*process.get("env", ()), *values.get("env", ())]
    for key, option in (
        ("cwd", "cwd"),
        ("selinuxLabel", "process-label"),
        ("apparmorProfile", "apparmor"),
    ):
        if option in values:
            new[key] = values[option]
    if "no-new-privs" in values:
        new["noNewPrivileges"] = values["no-new-privs"]
    if "user" in values:
        uid, given, gid = values["user"].partition(":")
        user["uid"] = _id(uid)
        if given:
            user["gid"] = _id(gid)
    if "additional-gids" in values:
        gids = [_id(gid) for gid in values["additional-gids"]]
        user["additionalGids"] = [*process["user"].get("additionalGids", ()), *gids]
    if "cap" in values:
        capabilities: dict[str, Any] = {**process.get("capabilities", {})}
        for name in ("bounding", "effective", "permitted"):
            capabilities[name] = [*capabilities.get(name, ()), *values["cap"]]
        new["capabilities"] = capabilities
    return check_process(new)


def _id(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 11):
        raise OptionError(f"{text!r} is no id", "give users and groups by their numbers")
    return int(text)
