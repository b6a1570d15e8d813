"""Parses the settings that people write: a TOML file, or a size such as 64M."""

from __future__ import annotations

from ringlet.errors import ConfigError, near
from ringlet.host.named_file import read_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}  # bytes
_MAX_TOML = 1 << 20  # bytes


def parse_size(text: str) -> int:
    """Returns the bytes of a size: `64M`, `512K`, `1G` or `4096`. Raises `ConfigError`."""
    number, unit = (text[:-1], text[-1:].upper()) if text[-1:].isalpha() else (text, "")
    try:
        if not number.isdigit():
            raise ValueError
        return int(number) * _UNITS[unit]
    except (ValueError, KeyError):
        raise ConfigError(f"{text!r} is not a size", "write it like 64M, 512K or 1G") from None


def load_toml(path: str, types: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    """Returns the values of a TOML file by their keys.

    Raises `ConfigError` for a key that isn't in `types`, and for a value of another type.
    """
    import tomllib

    try:
        values = tomllib.loads(read_named(path, _MAX_TOML).decode())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", "check the path") from None
    except (ValueError, RecursionError) as error:  # also for a number that int() refuses
        raise ConfigError(f"{path}: not TOML: {error}", "see https://toml.io") from None
    for key, value in values.items():
        if key not in types:
            hint = near(key, types, f"the keys are {', '.join(types)}")
            raise ConfigError(f"{path}: unknown key {key!r}", hint)
        if type(value) not in types[key]:  # the exact type, because a bool is an int, too
            raise ConfigError(
                f"{path}: {key} is of the wrong type",
                f"give {' or '.join(kind.__name__ for kind in types[key])}",
            )
    return values
