"""A program's device that raised an exception, or whose read returned no number.

The error names the device and the guest's access.
"""

from __future__ import annotations

from ringlet.errors import RingletError
from ringlet.kvm.vcpu import (
    KEY_SHIFT,
    KEY_SIZE_SHIFT,
    KEY_WRITE,
    KIND_NAMES,
    KIND_SHIFT,
    VALUE_MASK,
)
from ringlet.machine.access import find_access

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringlet.board.board import Placed
    from ringlet.kvm.vcpu import Vcpu
    from ringlet.machine.access import Access

_ACCESSES = ("port", "port-string", "mmio")


class ReplyError(TypeError):
    """The read of a device returned `reply`, which isn't a number of at most 64 bits."""

    def __init__(self, reply: object) -> None:
        if isinstance(reply, int):
            what = f"{reply:#x}, which no register can hold"
        else:
            what = "None" if reply is None else f"a {type(reply).__name__}, not an int"
        super().__init__(f"read returned {what}")


class DeviceError(RingletError):
    """A device failed at an access of the guest; `__cause__` is what the device raised.

    `device` is the name of the device, and `access` is the access.
    """

    def __init__(self, access: Access, what: str) -> None:
        self.access = access
        self.device = access.device
        super().__init__(
            f"the device {access.device or 'of an access'} failed at {access}: {what}",
            f"mend its method {'write' if access.is_write else 'read'}; "
            "in Python, the cause of this error says where",
        )


def device_error(
    devices: Sequence[Placed], vcpu: Vcpu, code: int, reply: object, error: Exception
) -> Exception:
    """Returns what to raise for `error`, by which the vCPU's loop failed after the exit `code`.

    Returns `error` itself if no device of a program is at fault: ringlet's own errors say what to
    do, and ringlet's own devices pass on what a program's serial line raises. `reply` is the value
    that the device gave to the guest's last read.
    """
    if isinstance(error, RingletError) or KIND_NAMES[code >> KIND_SHIFT] not in _ACCESSES:
        return error
    native, key = vcpu.native, code >> KEY_SHIFT
    if size := key >> KEY_SIZE_SHIFT & 7:
        is_write = bool(key & KEY_WRITE)
        port = KIND_NAMES[code >> KIND_SHIFT] == "port"
        address = key & 0xFFFF if port else native.address
        value = code & VALUE_MASK if is_write else None
        access = find_access(devices, address, size, is_write=is_write, value=value)
    else:
        access = find_access(
            devices,
            native.address,
            native.size,
            is_write=bool(native.write),
            times=native.count,
        )
    for placed in devices:
        if placed.name == access.device and type(placed.device).__module__.startswith("ringlet."):
            return error
    if not hasattr(type(reply), "__index__") or (
        isinstance(reply, int) and not 0 <= reply < 1 << 64
    ):
        error = ReplyError(reply)
    what = str(error) if isinstance(error, ReplyError) else f"{type(error).__name__}: {error}"
    failure = DeviceError(access, what)
    failure.__cause__ = error
    return failure
