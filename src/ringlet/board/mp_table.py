"""The MP table and the BIOS data area, which tell a kernel without ACPI of the processors.

Source: MultiProcessor Specification 1.4, 4 (MP configuration table) and B.4 (starting processors);
IBM PC/AT Technical Reference (1984), "BIOS Data Area". Teaching kernels, for example xv6 for x86,
look for this table only. The table describes the same machine as the ACPI tables (board/acpi.py).

A kernel starts a processor by INIT and SIPI. A kernel for older processors first points the
warm-reset vector, at 40:67, to its code, and sets the CMOS shutdown status. In this machine, both
are plain memory without an effect.
"""

from __future__ import annotations

from functools import cache
from struct import Struct

from ringlet.board.acpi import IO_APIC, LOCAL_APIC
from ringlet.board.layout import (
    BASE_MEMORY_WORD,
    EBDA_WORD,
    HIGH_MEMORY,
    KIB,
    LOW_RAM_END,
    MP_TABLE,
    SCI_IRQ,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.kvm.memory import GuestMemory

MAX_APIC_ID = 254  # the table has one byte for an APIC ID, and 255 is the broadcast ID

# Floating pointer: signature, table's address, length in paragraphs, revision, checksum, features.
_POINTER = Struct("<4sIBBB5x")
# Signature, base table's length, revision, checksum, OEM ID, product ID, OEM table and its size,
# number of entries, local APIC's address, extended table's length and checksum.
_HEADER = Struct("<4sHBB8s12sIHHIHBx")
_POINTER_CHECKSUM, _HEADER_CHECKSUM = 10, 7  # the offsets of the checksums

# Entries (4.3), each with its type.
_PROCESSOR = Struct("<BBBBII8x")  # APIC ID and version, flags, signature, feature flags
_BUS = Struct("<BB6s")
_IO_APIC_ENTRY = Struct("<BBBBI")  # ID, version, flags, address
_INTERRUPT = Struct("<BBHBBBB")  # type, flags, source bus and line, destination APIC and input
_REVISION = 4
_APIC_VERSION = 0x14  # integrated
_IO_APIC_VERSION = 0x11
_ENABLED, _BOOT_PROCESSOR = 1, 2
_ISA_BUS = 0
_INT, _NMI, _EXTINT = 0, 1, 3
_LEVEL_HIGH = 0xD
_ALL_LOCAL_APICS = 0xFF
_ISA_LINES = 16


def write_mp_table(memory: GuestMemory, *, cpus: int) -> None:
    """Writes the MP table, and two words of the BIOS data area that say where low RAM ends.

    Processor n has the APIC ID n. Does nothing if RAM ends below 1 MiB.
    """
    if memory.regions[0].size >= HIGH_MEMORY:
        memory.write(MP_TABLE, mp_table(cpus))
        memory.write(EBDA_WORD, (LOW_RAM_END >> 4).to_bytes(2, "little"))
        memory.write(BASE_MEMORY_WORD, (LOW_RAM_END // KIB).to_bytes(2, "little"))


@cache
def mp_table(cpus: int) -> bytes:
    """Returns floating pointer and table, as they lie in guest memory from `MP_TABLE` on."""
    entries = []
    for n in range(min(cpus, MAX_APIC_ID + 1)):
        flags = _ENABLED | (_BOOT_PROCESSOR if n == 0 else 0)
        entries.append(_PROCESSOR.pack(0, n, _APIC_VERSION, flags, 0x600, 0x201))
    entries.append(_BUS.pack(1, _ISA_BUS, b"ISA   "))
    entries.append(_IO_APIC_ENTRY.pack(2, 0, _IO_APIC_VERSION, _ENABLED, IO_APIC))
    # KVM connects each ISA line to the I/O APIC's input of the same number.
    for line in range(_ISA_LINES):
        flags = _LEVEL_HIGH if line == SCI_IRQ else 0
        entries.append(_INTERRUPT.pack(3, _INT, flags, _ISA_BUS, line, 0, line))
    for kind, line in ((_EXTINT, 0), (_NMI, 1)):  # LINT0 and LINT1 of every processor
        entries.append(_INTERRUPT.pack(4, kind, 0, _ISA_BUS, 0, _ALL_LOCAL_APICS, line))
    body = b"".join(entries)
    header = (
        *(b"PCMP", _HEADER.size + len(body), _REVISION, 0, b"RINGLT  ", b"RINGLET     "),
        *(0, 0, len(entries), LOCAL_APIC, 0, 0),
    )
    table = _with_checksum(_HEADER.pack(*header) + body, _HEADER_CHECKSUM)
    pointer = _POINTER.pack(b"_MP_", MP_TABLE + _POINTER.size, 1, _REVISION, 0)
    return _with_checksum(pointer, _POINTER_CHECKSUM) + table


def _with_checksum(data: bytes, offset: int) -> bytes:
    """Returns the data with a byte at `offset` that makes the sum of all bytes 0."""
    return data[:offset] + bytes([-sum(data) & 0xFF]) + data[offset + 1 :]
