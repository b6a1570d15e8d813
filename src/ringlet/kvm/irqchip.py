"""The state of the interrupt controllers that KVM emulates: PICs, I/O APIC and local APIC.

Source: Linux, arch/x86/include/uapi/asm/kvm.h (struct kvm_pic_state, kvm_ioapic_state and
kvm_lapic_state); Intel 8259A and 82093AA data sheets; Intel SDM volume 3, 11.4.1 (the registers of
the local APIC).
"""

from __future__ import annotations

from struct import unpack_from
from typing import NamedTuple

from ringlet.kvm.core import check, ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.kvm.vcpu import Vcpu
    from ringlet.kvm.vm import Vm

_PICS = (0, 1)  # KVM_IRQCHIP_PIC_MASTER and _SLAVE
_IO_APIC = 2
_SIZE = 512
_IO_APIC_TABLE = 24  # where the redirection table begins
_LINES = 24
_MASKED = 1 << 16
_LEVEL = 1 << 15
_SPURIOUS, _IN_SERVICE, _REQUESTED, _TIMER = 0xF0, 0x100, 0x200, 0x320
_ENABLED = 1 << 8


class Pic(NamedTuple):
    """One of the two 8259A PICs: a bit for each of its eight lines, and the first line's vector."""

    requested: int
    masked: int
    in_service: int
    base: int


class Redirection(NamedTuple):
    """An entry of the I/O APIC's redirection table."""

    vector: int
    masked: bool
    level: bool


class IoApic(NamedTuple):
    """The I/O APIC: a bit for each line that waits, and the redirection table."""

    requested: int
    table: tuple[Redirection, ...]


class LocalApic(NamedTuple):
    """The local APIC of a vCPU: a bit for each vector; `timer` is None if the timer is masked."""

    enabled: bool
    in_service: int
    requested: int
    timer: int | None


def read_pics(vm: Vm) -> tuple[Pic, Pic]:
    """Returns the state of the first and of the second PIC. Any thread may call this."""
    first, second = (_pic(_read(vm, chip)) for chip in _PICS)
    return first, second


def read_io_apic(vm: Vm) -> IoApic:
    """Returns the state of the I/O APIC. Any thread may call this."""
    data = _read(vm, _IO_APIC)
    (requested,) = unpack_from("<16xI", data)
    entries = unpack_from(f"<{_LINES}Q", data, _IO_APIC_TABLE)
    table = [Redirection(e & 0xFF, bool(e & _MASKED), bool(e & _LEVEL)) for e in entries]
    return IoApic(requested, tuple(table))


def read_local_apic(vcpu: Vcpu) -> LocalApic:
    """Returns the state of a vCPU's local APIC; only for the thread that runs the vCPU."""
    data = vcpu.get_state(lib.RINGLET_STATE_LAPIC)
    (spurious,) = unpack_from("<I", data, _SPURIOUS)
    (timer,) = unpack_from("<I", data, _TIMER)
    return LocalApic(
        bool(spurious & _ENABLED),
        _vectors(data, _IN_SERVICE),
        _vectors(data, _REQUESTED),
        None if timer & _MASKED else timer & 0xFF,
    )


def _read(vm: Vm, chip: int) -> bytes:
    buffer = ffi.new("char[]", _SIZE)
    check(lib.ringlet_vm_get_irqchip(vm.fd, chip, buffer), "get the interrupt controllers' state")
    return bytes(ffi.buffer(buffer))


def _pic(data: bytes) -> Pic:
    _, requested, masked, in_service, _, base = unpack_from("6B", data)
    return Pic(requested, masked, in_service, base)


def _vectors(data: bytes, start: int) -> int:
    """Returns the 256 bits of eight registers, which lie 16 bytes apart."""
    words = (unpack_from("<I", data, start + 0x10 * index)[0] for index in range(8))
    return sum(word << 32 * index for index, word in enumerate(words))
