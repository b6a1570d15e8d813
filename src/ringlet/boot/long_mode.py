"""Long mode at entry: flat segments, a matching GDT, and an identity map of the first 4 GiB.

Source: Intel SDM volume 3, 3.4.5 (segment descriptors), 4.5 (4-level paging) and 10.8.5
(initializing IA-32e mode).
"""

from __future__ import annotations

from functools import lru_cache
from struct import pack

from ringlet.board.layout import GDT, GIB, MIB, PAGE_TABLES
from ringlet.kvm.memory import PAGE
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

MAPPED = 4 * GIB
_CODE = 0x00AF_9B00_0000_FFFF  # 64-bit code, execute and read, ring 0
_DATA = 0x00CF_9300_0000_FFFF  # data, read and write, ring 0
_ENTRY = 0x3  # present, writable
_PAGE_ENTRY = 0x83  # present, writable, and a large page


@lru_cache(maxsize=1)  # nearly all kernels have their page tables at the same address
def _page_tables(address: int) -> bytes:
    """Returns a PML4 table, a page-directory-pointer table and four page directories."""
    directories = range(address + 2 * PAGE | _ENTRY, address + 6 * PAGE, PAGE)
    return (
        pack("<Q", address + PAGE | _ENTRY).ljust(PAGE, b"\0")
        + pack("<4Q", *directories).ljust(PAGE, b"\0")
        + pack("<2048Q", *range(_PAGE_ENTRY, MAPPED, 2 * MIB))
    )


def prepare(memory: GuestMemory, code: int, offset: int = 0) -> SpecialRegisters:
    """Writes GDT and page tables into the boot data; returns the registers for long mode.

    `code` is the selector of the code segment; the next selector is the data segment. `offset` is
    how far the boot data has moved up.
    """
    table = bytes(code) + pack("<2Q", _CODE, _DATA)
    memory.write(GDT + offset, table)
    memory.write(PAGE_TABLES + offset, _page_tables(PAGE_TABLES + offset))
    data = data_segment(code + 8, bits=64)
    return SpecialRegisters(
        cs=code_segment(code, bits=64),
        ds=data,
        es=data,
        fs=data,
        gs=data,
        ss=data,
        tr=Segment(limit=0x67, type=0xB, present=1),  # a busy 64-bit TSS, which VM entry requires
        ldt=Segment(type=2, unusable=1),
        gdt=DescriptorTable(GDT + offset, len(table) - 1),
        idt=DescriptorTable(),
        cr0=0x8000_0011,  # PG, ET, PE
        cr3=PAGE_TABLES + offset,
        cr4=0x20,  # PAE
        efer=0x500,  # LMA, LME
    )
