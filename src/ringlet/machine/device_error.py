"""A device that raised an exception, or whose read returned no number: with the guest's access."""

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
    from collections.abc import Iterable

    from ringlet.board.board import Placed
    from ringlet.kvm.vcpu import Vcpu
    from ringlet.machine.access import Access

_ACCESSES = ("port", "port-string", "mmio")


class ReplyError(TypeError):
    """The read of a device returned `reply`, which is no number."""

    def __init__(self, reply: object) -> None:
        kind = "None" if reply is None else f"a {type(reply).__name__}, not an int"
        super().__init__(f"read returned {kind}")


class DeviceError(RingletError):
    """A device failed at an access of the guest; `__cause__` is what the device raised.

    `device` is the name of the device, and `access` is the access.
    """

    def __init__(self, access: Access, what: str) -> None:
        self.access = access
        self.device = access.device
        super().__init__(
            f"the device {access.device or 'that claims the access'} failed at {access}: {what}",
            f"mend its method {'write' if access.is_write else 'read'}; "
            "in Python, the cause of this error says where",
        )


def device_error(
    devices: Iterable[Placed], vcpu: Vcpu, code: int, reply: object, error: Exception
) -> Exception:
    """Returns what to raise for `error`, by which the vCPU's loop failed after the exit `code`.

    Returns `error` itself if no device is at fault, or if the error is one of ringlet's own.
    `reply` is the value that the device gave to the guest's last read.
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
    if not hasattr(type(reply), "__index__"):
        error = ReplyError(reply)
    elif isinstance(reply, int) and not 0 <= reply < 1 << 64:
        error = ValueError(f"read returned {reply:#x}, which no register can hold")
    what = str(error) if isinstance(error, ReplyError) else f"{type(error).__name__}: {error}"
    failure = DeviceError(access, what)
    failure.__cause__ = error
    return failure
