"""Linux guests: their modules, their initramfs, and a command in the guest."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ringlet.linux.command import Completed, LinuxCommand, run
    from ringlet.linux.guest import LinuxGuest

__all__ = ["Completed", "LinuxCommand", "LinuxGuest", "run"]


def __getattr__(name: str) -> Any:
    """Imports `command.py` at its first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ringlet.linux import command  # noqa: PLC0415 (to build an initramfs takes no machine)

    return getattr(command, name)
