"""The interfaces between a device and the board: `Device` and `IrqLine`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object


class Device(Protocol):
    """The registers of a device. A device knows nothing of KVM, its address or the host.

    A device keeps all values that change while it runs in an attribute `state`: an object with
    slots or attributes, or a dictionary, of plain values.

    `offset` counts bytes from the device's first port or address. `size` is the width of the
    access in bytes: 1, 2 or 4, and for MMIO also 8.

    A device may have a method `register_name(offset, write)`, which returns the name that the
    device's specification gives to a register, for people: see `register_name` below.
    """

    def read(self, offset: int, size: int) -> int:
        """Returns the value that the guest reads."""

    def write(self, offset: int, size: int, value: int) -> None:
        """Takes the value that the guest writes."""


class IrqLine(Protocol):
    """A wire from a device to an interrupt controller. `set` may be called from any thread."""

    def set(self, level: bool) -> None:
        """Sets the wire high or low."""


def register_name(device: Device, offset: int, write: bool) -> str:
    """Returns the name of the register that an access at `offset` reaches now.

    This is the offset itself, such as `+0x4`, for a device that names no registers.
    """
    method = getattr(device, "register_name", None)
    return f"+{offset:#x}" if method is None else str(method(offset, write))
