"""The compiled core, `ffi` and `lib`, and the exceptions for its error codes."""

from __future__ import annotations

import os

from ringlet.errors import RingletError


class StaleBuildError(RingletError, ImportError):
    """The compiled core is missing, or older than its sources in this checkout."""


class KvmError(RingletError):
    """KVM refused a request; `errno` says why."""

    def __init__(self, what: str, errno: int, hint: str | None = None) -> None:
        super().__init__(
            f"KVM: {what}: {os.strerror(errno)}",
            hint or "`ringlet doctor` tells what this host's KVM can do",
        )
        self.errno = errno


try:
    from ringlet import _core
except ImportError as error:
    raise StaleBuildError(
        f"ringlet's compiled core can't be loaded ({error})",
        "run `make` in the checkout, or install ringlet again",
    ) from error

# A checkout has the core's sources, too. As make does, compare the times of the files.
_sources = os.path.join(os.path.dirname(__file__), "..", "..", "..", "csrc", "core")
if os.path.exists(os.path.join(_sources, "ringlet.h")):
    _built = os.stat(_core.__file__).st_mtime
    for _source in os.scandir(_sources):
        if _source.name.endswith((".c", ".h")) and _source.stat().st_mtime > _built:
            raise StaleBuildError(
                f"ringlet's compiled core is older than csrc/core/{_source.name}",
                "run `make` in the checkout",
            )

ffi = _core.ffi
lib = _core.lib


def check(result: int, what: str) -> int:
    """Returns the `result` of a core function; raises `KvmError` if it is an error code."""
    if result < 0:
        raise KvmError(what, -result)
    return result
