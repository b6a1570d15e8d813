"""A vCPU's registers as values, in the layout of KVM's structures on x86.

Source: struct kvm_regs, kvm_segment, kvm_dtable, kvm_sregs and kvm_debugregs of the KVM API
(Linux, arch/x86/include/uapi/asm/kvm.h).
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from ringlet.host.named_tuple import NamedTuple

_REGISTERS = Struct("<18Q")
_DEBUG_REGISTERS = Struct("<6Q80x")
_SEGMENT = "QIH10B"
_SPECIAL = Struct("<" + 8 * _SEGMENT + 2 * "QH6x" + "7Q32s")
_SEGMENT_FIELDS = 13  # including the padding byte


class Registers(NamedTuple):
    """The general registers (KVM_GET_REGS)."""

    rax: int = 0
    rbx: int = 0
    rcx: int = 0
    rdx: int = 0
    rsi: int = 0
    rdi: int = 0
    rsp: int = 0
    rbp: int = 0
    r8: int = 0
    r9: int = 0
    r10: int = 0
    r11: int = 0
    r12: int = 0
    r13: int = 0
    r14: int = 0
    r15: int = 0
    rip: int = 0
    rflags: int = 2  # bit 1 is always set (Intel SDM volume 1, 3.4.3)

    def pack(self) -> bytes:
        """Returns the bytes of a struct kvm_regs."""
        return _REGISTERS.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Registers:
        """Returns the registers in the bytes of a struct kvm_regs."""
        return cls(*_REGISTERS.unpack(data))


class Segment(NamedTuple):
    """A segment register with its hidden part (Intel SDM volume 3, 3.4.3 and 3.4.5)."""

    base: int = 0
    limit: int = 0
    selector: int = 0
    type: int = 0
    present: int = 0
    dpl: int = 0
    db: int = 0
    s: int = 0
    l: int = 0  # noqa: E741 (the manual's name: 64-bit code)
    g: int = 0
    avl: int = 0
    unusable: int = 0


class DescriptorTable(NamedTuple):
    """GDTR or IDTR: linear address and limit (the last valid offset)."""

    base: int = 0
    limit: int = 0


class SpecialRegisters(NamedTuple):
    """Segments, tables and control registers (KVM_GET_SREGS)."""

    cs: Segment
    ds: Segment
    es: Segment
    fs: Segment
    gs: Segment
    ss: Segment
    tr: Segment
    ldt: Segment
    gdt: DescriptorTable
    idt: DescriptorTable
    cr0: int
    cr2: int = 0
    cr3: int = 0
    cr4: int = 0
    cr8: int = 0
    efer: int = 0
    apic_base: int = 0xFEE0_0900  # bit 11: APIC enabled; bit 8: the bootstrap processor
    interrupt_bitmap: bytes = bytes(32)  # interrupts injected but not yet taken

    def pack(self) -> bytes:
        """Returns the bytes of a struct kvm_sregs."""
        values: list[int | bytes] = []
        for segment in self[:8]:
            values += segment
            values.append(0)
        values += self.gdt
        values += self.idt
        return _SPECIAL.pack(*values, *self[10:])

    @classmethod
    def unpack(cls, data: bytes) -> SpecialRegisters:
        """Returns the registers in the bytes of a struct kvm_sregs."""
        values = _SPECIAL.unpack(data)
        segments = [
            Segment(*values[start : start + _SEGMENT_FIELDS - 1])
            for start in range(0, 8 * _SEGMENT_FIELDS, _SEGMENT_FIELDS)
        ]
        gdt_base, gdt_limit, idt_base, idt_limit, *rest = values[8 * _SEGMENT_FIELDS :]
        tables = DescriptorTable(gdt_base, gdt_limit), DescriptorTable(idt_base, idt_limit)
        return cls._make((*segments, *tables, *rest))


class DebugRegisters(NamedTuple):
    """The guest's own debug registers (KVM_GET_DEBUGREGS; Intel SDM volume 3, 18.2)."""

    dr0: int = 0
    dr1: int = 0
    dr2: int = 0
    dr3: int = 0
    dr6: int = 0xFFFF_0FF0  # the bits that are always set
    dr7: int = 0x400

    def pack(self) -> bytes:
        """Returns the bytes of a struct kvm_debugregs."""
        return _DEBUG_REGISTERS.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> DebugRegisters:
        """Returns the registers in the bytes of a struct kvm_debugregs."""
        return cls(*_DEBUG_REGISTERS.unpack(data))


# Access rights of the segments that boot protocols ask for.
def code_segment(selector: int, *, base: int = 0, limit: int = 0xFFFF_FFFF, bits: int) -> Segment:
    """Returns a present ring-0 code segment, execute and read, for 16-, 32- or 64-bit code."""
    return Segment(
        base, limit, selector, 0xB, 1, 0, int(bits == 32), 1, int(bits == 64), int(limit > 0xFFFFF)
    )


def data_segment(selector: int, *, base: int = 0, limit: int = 0xFFFF_FFFF, bits: int) -> Segment:
    """Returns a present ring-0 data segment, read and write."""
    return Segment(base, limit, selector, 3, 1, 0, int(bits != 16), 1, 0, int(limit > 0xFFFFF))
