"""The exits of a vCPU from the guest: one small type for each kind of exit.

Source: Linux, Documentation/virt/kvm/api.rst, 5 (exit_reason of kvm_run).
"""

from __future__ import annotations

from typing import NamedTuple

from ringlet.kvm.core import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class PortRead(NamedTuple):
    """An `in` instruction: the `reply` of the next run is the value that the guest reads."""

    port: int
    size: int


class PortWrite(NamedTuple):
    """An `out` instruction."""

    port: int
    size: int
    value: int


class PortStringRead(NamedTuple):
    """A `rep ins`: `repeat` reads of `size` bytes; `Vcpu.reply_string` gives the values."""

    port: int
    size: int
    repeat: int


class PortStringWrite(NamedTuple):
    """A `rep outs`: `size * repeat` bytes of data."""

    port: int
    size: int
    repeat: int
    data: bytes


class MmioRead(NamedTuple):
    """A read outside memory: the `reply` of the next run is the value that the guest reads."""

    address: int
    size: int


class MmioWrite(NamedTuple):
    """A write outside memory."""

    address: int
    size: int
    value: int


class Halt(NamedTuple):
    """A `hlt` instruction, in a VM without interrupt controllers in the kernel."""


class Shutdown(NamedTuple):
    """A triple fault."""


class SystemEvent(NamedTuple):
    """The guest asked KVM for a shutdown, a reset or a similar event."""

    type: int
    data: tuple[int, ...]


class InternalError(NamedTuple):
    """KVM could not go on. Suberror 1 means that KVM can't emulate the instruction at RIP."""

    suberror: int
    data: tuple[int, ...]

    @property
    def instruction(self) -> bytes:
        """The bytes at RIP if KVM gave them; else empty.

        Source: struct kvm_run, emulation_failure. Bit 0 of the flags says that the bytes are
        present. A byte with their number and at most 15 bytes follow.
        """
        if self.suberror != EMULATION_FAILURE or len(self.data) < 4 or not self.data[0] & 1:
            return b""
        raw = b"".join(word.to_bytes(8, "little") for word in self.data[1:4])
        return raw[1 : 1 + min(raw[0], 15)]


class Debug(NamedTuple):
    """A single step or a breakpoint."""

    exception: int
    pc: int
    dr6: int
    dr7: int


class FailEntry(NamedTuple):
    """The hardware refused to enter the guest."""

    reason: int
    cpu: int


class Interrupted(NamedTuple):
    """A kick, a tick, or another signal to the thread."""


class Unknown(NamedTuple):
    """An exit reason that ringlet doesn't know."""

    reason: int


class Error(NamedTuple):
    """The ioctl KVM_RUN itself failed."""

    errno: int


Exit = (
    PortRead
    | PortWrite
    | PortStringRead
    | PortStringWrite
    | MmioRead
    | MmioWrite
    | Halt
    | Shutdown
    | SystemEvent
    | InternalError
    | Debug
    | FailEntry
    | Interrupted
    | Unknown
    | Error
)

EMULATION_FAILURE = 1  # KVM_INTERNAL_ERROR_EMULATION


def decode(native: Any, code: int) -> Exit:
    """Returns the last exit of the vCPU `native`, for which ringlet_vcpu_run returned `code`."""
    kind = code >> 56
    if kind == lib.RINGLET_EXIT_PORT:
        port, size = code >> 32 & 0xFFFF, code >> 48 & 7
        return PortWrite(port, size, code & 0xFFFF_FFFF) if code >> 51 & 1 else PortRead(port, size)
    if kind == lib.RINGLET_EXIT_MMIO:
        if native.write:
            value = int.from_bytes(ffi.buffer(native.data, native.size), "little")
            return MmioWrite(native.address, native.size, value)
        return MmioRead(native.address, native.size)
    if kind == lib.RINGLET_EXIT_PORT_STRING:
        if native.write:
            data = bytes(ffi.buffer(native.data, native.size * native.count))
            return PortStringWrite(native.address, native.size, native.count, data)
        return PortStringRead(native.address, native.size, native.count)
    if kind == lib.RINGLET_EXIT_INTERRUPTED:
        return Interrupted()
    if kind == lib.RINGLET_EXIT_HALT:
        return Halt()
    if kind == lib.RINGLET_EXIT_SHUTDOWN:
        return Shutdown()
    first, *more = native.detail[0 : native.detail_count]
    if kind == lib.RINGLET_EXIT_SYSTEM_EVENT:
        return SystemEvent(first, tuple(more))
    if kind == lib.RINGLET_EXIT_INTERNAL_ERROR:
        return InternalError(first, tuple(more))
    if kind == lib.RINGLET_EXIT_DEBUG:
        return Debug(first, *more)
    if kind == lib.RINGLET_EXIT_FAIL_ENTRY:
        return FailEntry(first, *more)
    if kind == lib.RINGLET_EXIT_ERROR:
        return Error(first)
    return Unknown(first)
