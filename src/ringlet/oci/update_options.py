"""The limits that `update` sets: `linux.resources`, read from a file or from options."""

from __future__ import annotations

from ringlet.container.fast_json import loads
from ringlet.container.spec.config_json import MAX_BYTES, check_resources
from ringlet.host.named_file import read_named
from ringlet.oci.options import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ringlet.container.spec.types import Resources

# For each option, the place of its value in `linux.resources`.
_NUMBERS = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-idle": ("cpu", "idle"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "pids-limit": ("pids", "limit"),
}
_LISTS = {"cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems")}
_UNITS = {"k": 10, "m": 20, "g": 30, "t": 40}


def resources(values: dict[str, Any]) -> Resources:
    """Returns the limits to set. Raises OptionError, or SpecError for a field of the file."""
    path = values.get("resources")
    new = _read(path) if path is not None else _given(values)
    if isinstance(new, dict):
        # Engines write every field of these kinds; a 0 there means "unchanged" and isn't a limit.
        # Engines write pids.limit only to change the limit; a 0 there means no limit.
        for kind in ("memory", "cpu", "blockIO"):
            if isinstance(new.get(kind), dict):
                kept = {
                    key: value for key, value in new[kind].items() if value not in (0, "", None)
                }
                if isinstance(idle := new[kind].get("idle"), int):
                    kept["idle"] = idle
                new[kind] = kept
        new = {key: value for key, value in new.items() if value not in ({}, None)}
    return check_resources(new)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    new: dict[str, Any] = {}
    for option, (kind, key) in _NUMBERS.items():
        if option in values:
            number = _bytes if kind == "memory" else _number
            new.setdefault(kind, {})[key] = number(option, values[option])
    for option, (kind, key) in _LISTS.items():
        if option in values:
            new.setdefault(kind, {})[key] = values[option]
    if not new:
        raise OptionError("there is nothing to change", "ringlet-oci update --memory 512m ID")
    return new


def _read(path: str) -> Any:
    try:
        return loads(read_named("/dev/stdin" if path == "-" else path, MAX_BYTES).decode())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise OptionError(
            f"{path}: {why}", "it has to be JSON, `linux.resources` of config.json"
        ) from None


def _number(option: str, text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 20):
        raise OptionError(f"--{option} {text}: no whole number", f"--{option} 1000")
    return int(text)


def _bytes(option: str, text: str) -> int:
    number = text.lower().removesuffix("b").removesuffix("i")
    shift = _UNITS.get(number[-1:], 0)
    return _number(option, number[:-1] if shift else number) << shift
