"""An access of the guest to a port or to an address without memory, in words.

The access names the device that claims it, and the register in the device.
"""

from __future__ import annotations

from ringlet.board.device import register_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NamedTuple

    from ringlet.board.board import Placed
    from ringlet.board.device import Device
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
    register  the name of the register there, or "" if the device names none
    """

    is_port: bool
    address: int
    size: int
    is_write: bool
    value: int | None = None
    times: int = 1
    device: str = ""
    offset: int = 0
    register: str = ""

    def __str__(self) -> str:
        what = f"{self.times} accesses of " if self.times > 1 else ""
        kind = "write" if self.is_write else "read"
        value = "" if self.value is None else f" ({self.value:#x})"
        where = f"{'port' if self.is_port else 'address'} {self.address:#x}"
        device = ""
        if self.device:
            device = f", {self.device} {self.register or f'at offset {self.offset:#x}'}"
        elif not self.is_port:
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
        if self.register:
            found["register"] = self.register
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
                offset = max(address - first, 0)
                place = placed.name, offset, _register(placed.device, offset, is_write)
                return Access(is_port, address, size, is_write, value, times, *place)
    return Access(is_port, address, size, is_write, value, times)


def _register(device: Device | None, offset: int, is_write: bool) -> str:
    """Returns the name that `device` gives to a register, or "" if it gives none."""
    try:
        name = "" if device is None else register_name(device, offset, is_write)
    except Exception:  # a program's own device, which may be in trouble already
        return ""
    return "" if name.startswith("+") else name


def last_access(vcpu: Vcpu, devices: Iterable[Placed]) -> Access | None:
    """Returns the last access that made an exit of `vcpu`; None if there was none."""
    native = vcpu.native
    if not native.count:
        return None
    is_write, count = bool(native.write), int(native.count)
    return find_access(devices, native.address, native.size, is_write=is_write, times=count)
