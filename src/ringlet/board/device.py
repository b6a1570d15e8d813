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
    """

    def read(self, offset: int, size: int) -> int:
        """Returns the value that the guest reads."""

    def write(self, offset: int, size: int, value: int) -> None:
        """Takes the value that the guest writes."""


class IrqLine(Protocol):
    """A wire from a device to an interrupt controller. `set` may be called from any thread."""

    def set(self, level: bool) -> None:
        """Sets the wire high or low."""
