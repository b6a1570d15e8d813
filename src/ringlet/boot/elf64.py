"""elf64: a 64-bit ELF entered in long mode, ringlet's own boot protocol.

The contract, at the ELF's entry point (e_entry, taken as a physical address):

- 64-bit ring 0 with paging; the first 4 GiB are mapped to themselves, writable, in 2 MiB pages.
- RDI: the physical address of the start info, the same struct hvm_start_info as PVH's.
- RSP: 8 modulo 16, as after a call, with `STACK_TOP` of stack; the return address is 0.
- RFLAGS: 2, so interrupts off, direction upwards. The other general registers are 0.
- CS is selector 8 of a GDT in guest memory, the data segments and SS are selector 16.
- IDTR and TR hold nothing of use. CR0 is PE, ET, PG; CR4 PAE; EFER LME, LMA. What else the
  guest wants (SSE, NX, write protection), it turns on.
- Tables, GDT and start info lie where board/layout.py draws them, in memory that the memory map
  calls RAM; they are the guest's.

Source for the processor's side: Intel SDM volume 3, 4.5 (4-level paging) and 10.8.5
(initializing IA-32e mode).
"""

from collections.abc import Sequence
from functools import cache
from struct import pack

from ringlet.board.layout import GDT, GIB, MIB, PAGE_TABLES, STACK_TOP, START_INFO
from ringlet.boot import elf
from ringlet.boot.entry import Entry
from ringlet.boot.image import Image
from ringlet.boot.start_info import write_start_info
from ringlet.errors import ImageError
from ringlet.kvm.memory import PAGE, GuestMemory
from ringlet.kvm.registers import (
    DescriptorTable,
    Registers,
    Segment,
    SpecialRegisters,
    code_segment,
    data_segment,
)

_TABLE = pack(
    "<3Q",
    0,
    0x00AF_9B00_0000_FFFF,  # 64-bit code, execute and read, ring 0
    0x00CF_9300_0000_FFFF,  # data, read and write, ring 0
)
_CODE = code_segment(0x8, bits=64)
_DATA = data_segment(0x10, bits=64)
_SPECIAL = SpecialRegisters(
    cs=_CODE,
    ds=_DATA,
    es=_DATA,
    fs=_DATA,
    gs=_DATA,
    ss=_DATA,
    tr=Segment(limit=0x67, type=0xB, present=1),  # a busy 64-bit TSS: VM entry asks for one
    ldt=Segment(type=2, unusable=1),
    gdt=DescriptorTable(GDT, len(_TABLE) - 1),
    idt=DescriptorTable(),
    cr0=0x8000_0011,  # PG, ET, PE
    cr3=PAGE_TABLES,
    cr4=0x20,  # PAE
    efer=0x500,  # LMA, LME
)

_MAPPED = 4 * GIB
_ENTRY = 0x3  # present, writable
_PAGE_ENTRY = 0x83  # the same, and it is a large page


@cache
def _page_tables() -> bytes:
    """A page-map level 4, a page-directory-pointer table and four page directories."""
    directories = range(PAGE_TABLES + 2 * PAGE | _ENTRY, PAGE_TABLES + 6 * PAGE, PAGE)
    return (
        pack("<Q", PAGE_TABLES + PAGE | _ENTRY).ljust(PAGE, b"\0")
        + pack("<4Q", *directories).ljust(PAGE, b"\0")
        + pack("<2048Q", *range(_PAGE_ENTRY, _MAPPED, 2 * MIB))
    )


def load(
    image: Image,
    memory: GuestMemory,
    command_line: bytes,
    modules: Sequence[tuple[Image, bytes]],
) -> Entry:
    """Load kernel and modules. Raises `ImageError`, or `ConfigError` for what doesn't fit."""
    executable = elf.parse(image)
    if executable.bits != 64:
        raise ImageError(
            f"{image.name} is a 32-bit ELF", "build it as a 64-bit ELF, or with a PVH note"
        )
    if executable.entry >= _MAPPED:
        raise ImageError(
            f"{image.name}: its entry point {executable.entry:#x} isn't below 4 GiB",
            "link it so that e_entry is a physical address",
        )
    elf.check_segments(image, executable, memory, executable.entry)
    write_start_info(memory, executable.segments, command_line, modules)
    memory.write(GDT, _TABLE)
    memory.write(PAGE_TABLES, _page_tables())
    elf.load_segments(image, executable, memory)
    return Entry(Registers(rdi=START_INFO, rsp=STACK_TOP - 8, rip=executable.entry), _SPECIAL)
