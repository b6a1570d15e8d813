"""What a device is to the board, and what the board is to a device."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object


class Device(Protocol):
    """Registers, and nothing else: a device knows no KVM, no address, no host.

    A device that has something that changes while it runs has that in an attribute `state`: an
    object with slots or attributes, or a dictionary, of plain values.

    `offset` counts bytes from the device's first port or address; `size` is the width of the
    access in bytes, 1, 2 or 4, over MMIO also 8.
    """

    def read(self, offset: int, size: int) -> int:
        """What a read of the guest gets."""

    def write(self, offset: int, size: int, value: int) -> None:
        """Take what the guest writes."""


class IrqLine(Protocol):
    """A wire from a device to an interrupt controller. `set` may be called from any thread."""

    def set(self, level: bool) -> None:
        """Put the wire high or low."""
