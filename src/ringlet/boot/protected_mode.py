"""32-bit protected mode without paging: how PVH and Multiboot alike start a kernel.

Source: Xen, docs/misc/pvh.pandoc (x86/HVM direct boot ABI); Multiboot specification 0.6.96, 3.2.
The guest brings its own stack, GDT and IDT.
"""

from ringlet.kvm.registers import (
    DescriptorTable,
    Segment,
    SpecialRegisters,
    code_segment,
    data_segment,
)

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
