"""32-bit protected mode without paging, in which PVH and Multiboot start a kernel.

Source: Xen, docs/misc/pvh.pandoc (x86/HVM direct boot ABI); Multiboot specification 0.6.96, 3.2.
The guest brings its own stack, GDT and IDT. Linux is started in the same mode, with a GDT in memory
(Documentation/arch/x86/boot.rst, "32-bit Boot Protocol").
"""

from __future__ import annotations

from struct import pack

from ringlet.board.layout import GDT
from ringlet.kvm.registers import (
    DescriptorTable,
    Segment,
    SpecialRegisters,
    code_segment,
    data_segment,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.kvm.memory import GuestMemory

_CODE = code_segment(0x8, bits=32)
_DATA = data_segment(0x10, bits=32)
_NO_TABLE = DescriptorTable()

PROTECTED_MODE = SpecialRegisters(
    cs=_CODE,
    ds=_DATA,
    es=_DATA,
    fs=_DATA,
    gs=_DATA,
    ss=_DATA,
    tr=Segment(limit=0x67, type=0xB, present=1),  # a busy 32-bit TSS
    ldt=Segment(type=2, unusable=1),
    gdt=_NO_TABLE,
    idt=_NO_TABLE,
    cr0=0x11,  # PE, and ET, which is always set
)


_CODE_DESCRIPTOR = 0x00CF_9B00_0000_FFFF  # 32-bit code, execute and read, ring 0
_DATA_DESCRIPTOR = 0x00CF_9300_0000_FFFF  # data, read and write, ring 0


def prepare(memory: GuestMemory, code: int) -> SpecialRegisters:
    """Writes a GDT into the boot data; returns the registers for protected mode.

    `code` is the selector of the code segment; the next selector is the data segment.
    """
    table = bytes(code) + pack("<2Q", _CODE_DESCRIPTOR, _DATA_DESCRIPTOR)
    memory.write(GDT, table)
    data = data_segment(code + 8, bits=32)
    return PROTECTED_MODE._replace(
        cs=code_segment(code, bits=32),
        ds=data,
        es=data,
        fs=data,
        gs=data,
        ss=data,
        gdt=DescriptorTable(GDT, len(table) - 1),
    )
