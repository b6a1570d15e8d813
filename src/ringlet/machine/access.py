"""An access of the guest to a port or to an address without memory, in words.

The access names the device that claims it, and the offset in the device.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NamedTuple

    from ringlet.board.board import Placed
    from ringlet.kvm.vcpu import Vcpu
else:
    from ringlet.host.named_tuple import NamedTuple

PORTS = 1 << 16  # guests have RAM at these addresses, so no MMIO


class Access(NamedTuple):
    """A read or a write of `size` bytes, `times` times.

    address   the port, or the guest-physical address; `is_port` says which
    value     what the guest wrote; None for a read, or if nobody knows
    device    the name of the device that claims the access, or a part of it; or ""
    offset    the access's place in that device
    """

    is_port: bool
    address: int
    size: int
    is_write: bool
    value: int | None = None
    times: int = 1
    device: str = ""
    offset: int = 0

    def __str__(self) -> str:
        what = f"{self.times} accesses of " if self.times > 1 else ""
        kind = "write" if self.is_write else "read"
        value = "" if self.value is None else f" ({self.value:#x})"
        where = f"{'port' if self.is_port else 'address'} {self.address:#x}"
        device = f", {self.device} at offset {self.offset:#x}" if self.device else ""
        if not self.is_port and not self.device:
            device = ", where no RAM and no device is"
        preposition = "to" if self.is_write else "from"
        return f"a {kind} of {what}{_bytes(self.size)}{value} {preposition} {where}{device}"

    def as_json(self) -> dict[str, Any]:
        """Returns the access as data for JSON; an access that no device claims has no device."""
        found: dict[str, Any] = {
            "kind": "write" if self.is_write else "read",
            "port" if self.is_port else "address": hex(self.address),
            "size": self.size,
        }
        if self.value is not None:
            found["value"] = hex(self.value)
        if self.device:
            found |= {"device": self.device, "offset": self.offset}
        return found


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"


def find_access(
    devices: Iterable[Placed],
    address: int,
    size: int,
    *,
    is_write: bool,
    value: int | None = None,
    times: int = 1,
) -> Access:
    """Returns the access, with the device of `devices` that claims it."""
    is_port = address < PORTS
    for placed in devices:
        for first, length in placed.ports if is_port else placed.mmio:
            if first < address + size and address < first + length:
                offset = address - first
                return Access(is_port, address, size, is_write, value, times, placed.name, offset)
    return Access(is_port, address, size, is_write, value, times)


def last_access(vcpu: Vcpu, devices: Iterable[Placed]) -> Access | None:
    """Returns the last access that made an exit of `vcpu`; None if there was none."""
    native = vcpu.native
    if not native.count:
        return None
    is_write, count = bool(native.write), int(native.count)
    return find_access(devices, native.address, native.size, is_write=is_write, times=count)
