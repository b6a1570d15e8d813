"""What a Linux guest needs: its modules, its initramfs, and a command in it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ringlet.linux.command import Completed, LinuxCommand, run

__all__ = ["Completed", "LinuxCommand", "run"]


def __getattr__(name: str) -> Any:
    """Imports the command when it is first asked for: what builds an initramfs has no machine."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ringlet.linux import command

    return getattr(command, name)
