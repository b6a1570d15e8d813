"""The buses, which find the device for a port or for a guest-physical address.

For an access that the guest has made before, one look-up in a dictionary finds the handler. For a
new access, the bus looks at the claims of the devices. An address that no device claims reads as
all ones and ignores writes, as an empty slot in a PC does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial

from ringlet.errors import ConfigError
from ringlet.kvm.vcpu import KEY_SIZE_SHIFT, KEY_WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ringlet.board.device import Device

PORTS = 1 << 16
MAX_MMIO_HANDLERS = 4096

Ranges = Sequence[tuple[int, int]]  # the first of some ports or addresses, and their number


def _overlap(what: str, first: int, count: int) -> ConfigError:
    return ConfigError(
        f"{what} {first:#x} to {first + count - 1:#x}: another device is there",
        "give the device another place; `Machine.devices` lists the places that are taken",
    )


def _outside(what: str, first: int, count: int) -> ConfigError:
    return ConfigError(f"{what} {first:#x}, {count} of them: no such range", "look at the numbers")


def _touches(ranges: Ranges, first: int, count: int) -> bool:
    return any(first < start + size and start < first + count for start, size in ranges)


class Unclaimed:
    """Counts the accesses that no device claims, and logs them if `log` is set.

    The first access is also given to `on_first`: port or address, size, and the value of a write or
    None. `where` is the word "port" or "address".
    """

    __slots__ = ("log", "on_first", "reads", "writes")

    def __init__(self) -> None:
        self.reads = 0
        self.writes = 0
        self.log: Callable[[str], None] | None = None
        self.on_first: Callable[[int, int, int | None], object] | None = None

    def read(self, where: str, address: int, size: int) -> int:
        """Counts a read, and returns all ones."""
        self.reads += 1
        if self.on_first:
            self._tell_first(address, size, None)
        if self.log:
            self.log(f"read of {size} at unclaimed {where} {address:#x}")
        return (1 << 8 * size) - 1

    def write(self, where: str, address: int, size: int, value: int) -> None:
        """Counts a write, and ignores its value."""
        self.writes += 1
        if self.on_first:
            self._tell_first(address, size, value)
        if self.log:
            self.log(f"write of {size} at unclaimed {where} {address:#x}: {value:#x}")

    def _tell_first(self, address: int, size: int, value: int | None) -> None:
        on_first, self.on_first = self.on_first, None
        if on_first:  # another vCPU may have been faster
            on_first(address, size, value)


class PortBus:
    """The 65,536 ports of port I/O; KVM handles the ports of `in_kernel`, without an exit."""

    def __init__(self, unclaimed: Unclaimed, in_kernel: Ranges = ()) -> None:
        self._unclaimed = unclaimed
        self._in_kernel = in_kernel
        self._claims: dict[int, tuple[int, Device]] = {}  # port: first port of its device
        # The handler for each key of an access (kvm/vcpu.py). `handler` adds an entry when a guest
        # first makes an access, for claimed ports only. So a guest can't add more than a few
        # entries for each port of a device.
        self.handlers: dict[int, Callable[..., Any]] = {}

    def add(self, first: int, count: int, device: Device) -> None:
        """Gives `device` `count` ports from `first` on. Raises `ConfigError` if one is taken."""
        if count < 1 or first < 0 or first + count > PORTS:
            raise _outside("ports from", first, count)
        ports = range(first, first + count)
        if _touches(self._in_kernel, first, count) or any(port in self._claims for port in ports):
            raise _overlap("ports", first, count)
        self._claims.update(dict.fromkeys(ports, (first, device)))

    def handler(self, key: int) -> Callable[..., Any]:
        """Returns the handler for this key: takes the value of a write, or returns that of a read.

        Keeps the handler in `handlers` if the access lies within one device.
        """
        port, size = key & 0xFFFF, key >> KEY_SIZE_SHIFT & 7
        write = key & KEY_WRITE
        claim = self._claims.get(port)
        if claim is None or self._claims.get(port + size - 1) is not claim:
            return partial(self._split_write if write else self._split_read, port, size)
        first, device = claim
        handler = partial(device.write if write else device.read, port - first, size)
        self.handlers[key] = handler
        return handler

    # An access that doesn't lie within one device becomes an access for each byte. The bus of a PC
    # also splits an access for 8-bit devices in this way.

    def _split_read(self, port: int, size: int) -> int:
        if not any(port + i in self._claims for i in range(size)):
            return self._unclaimed.read("port", port, size)
        value = 0
        for i in range(size):
            first, device = self._claims.get(port + i, (0, None))
            if device is None:
                byte = self._unclaimed.read("port", port + i, 1)
            else:
                byte = device.read(port + i - first, 1)
            value |= (byte & 0xFF) << 8 * i
        return value

    def _split_write(self, port: int, size: int, value: int) -> None:
        if not any(port + i in self._claims for i in range(size)):
            return self._unclaimed.write("port", port, size, value)
        for i in range(size):
            byte = value >> 8 * i & 0xFF
            first, device = self._claims.get(port + i, (0, None))
            if device is None:
                self._unclaimed.write("port", port + i, 1, byte)
            else:
                device.write(port + i - first, 1, byte)
        return None


class MmioBus:
    """The guest-physical addresses without memory; KVM handles those of `in_kernel`.

    An access belongs to a device only if all its bytes belong to that device. An access that
    belongs to no device is unclaimed.
    """

    def __init__(self, unclaimed: Unclaimed, in_kernel: Ranges = ()) -> None:
        self._unclaimed = unclaimed
        self._in_kernel = in_kernel
        self._starts: list[int] = []
        self._claims: list[tuple[int, Device]] = []  # one past the last address, and the device
        # The handler for each key (kvm/vcpu.py) and address. A device may have any size, so the bus
        # keeps only the first MAX_MMIO_HANDLERS handlers that a guest uses.
        self.handlers: dict[tuple[int, int], Callable[..., Any]] = {}

    def add(self, address: int, size: int, device: Device) -> None:
        """Gives `device` the `size` bytes at `address`. Raises `ConfigError` if one is taken."""
        if size < 1 or address < 0 or address + size > 1 << 64:
            raise _outside("addresses from", address, size)
        index = bisect_right(self._starts, address)
        below = index > 0 and self._claims[index - 1][0] > address
        above = index < len(self._starts) and self._starts[index] < address + size
        if below or above or _touches(self._in_kernel, address, size):
            raise _overlap("addresses", address, size)
        self._starts.insert(index, address)
        self._claims.insert(index, (address + size, device))

    def _find(self, address: int, size: int) -> tuple[int, Device] | None:
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        end, device = self._claims[index]
        return (self._starts[index], device) if address + size <= end else None

    def handler(self, key: int, address: int) -> Callable[..., Any]:
        """Returns the handler for this key and address.

        The handler takes the value of a write, or returns the value of a read. The key must have a
        size.
        """
        size, write = key >> KEY_SIZE_SHIFT & 7, key & KEY_WRITE
        found = self._find(address, size)
        if found is None:
            return partial(self.write if write else self.read, address, size)
        start, device = found
        handler = partial(device.write if write else device.read, address - start, size)
        if len(self.handlers) < MAX_MMIO_HANDLERS:
            self.handlers[key, address] = handler
        return handler

    def read(self, address: int, size: int) -> int:
        """Returns the value that the guest reads at `address`."""
        found = self._find(address, size)
        if found is None:
            return self._unclaimed.read("address", address, size)
        start, device = found
        return device.read(address - start, size)

    def write(self, address: int, size: int, value: int) -> None:
        """Takes the value that the guest writes at `address`."""
        found = self._find(address, size)
        if found is None:
            self._unclaimed.write("address", address, size, value)
        else:
            start, device = found
            device.write(address - start, size, value)
