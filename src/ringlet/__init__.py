"""ringlet: virtual machines and containers from Python."""

from __future__ import annotations

from ringlet.errors import ConfigError, ImageError, RingletError

TYPE_CHECKING = False  # of `typing`, whose import takes as long as the interpreter's start
if TYPE_CHECKING:
    from typing import Any

    from ringlet.container.container import Container
    from ringlet.host.outcome import Usage
    from ringlet.host.workload import ContainerConfig, Workload
    from ringlet.machine.config import MachineConfig
    from ringlet.machine.device_error import DeviceError
    from ringlet.machine.machine import Machine
    from ringlet.machine.result import Result
    from ringlet.observe.debug.debugger import debug
    from ringlet.observe.exits.trace import trace

__all__ = [
    "ConfigError",
    "Container",
    "ContainerConfig",
    "DeviceError",
    "ImageError",
    "Machine",
    "MachineConfig",
    "Result",
    "RingletError",
    "Usage",
    "Workload",
    "debug",
    "trace",
]

_LATE = {
    "Container": "container.container",
    "ContainerConfig": "host.workload",
    "DeviceError": "machine.device_error",
    "Machine": "machine.machine",
    "MachineConfig": "machine.config",
    "Result": "machine.result",
    "Usage": "host.outcome",
    "Workload": "host.workload",
    "debug": "observe.debug.debugger",
    "trace": "observe.exits.trace",
}


def __getattr__(name: str) -> Any:
    """Import what is late when it is first asked for: `ringlet --help` needs none."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"ringlet.{_LATE[name]}"), name)
