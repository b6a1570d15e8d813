"""The MP table, read as a kernel reads it: found by its signature, nothing believed."""

import struct
from typing import NamedTuple

import pytest

from ringlet.board import layout
from ringlet.board.acpi import tables
from ringlet.board.mp_table import mp_table, write_mp_table
from ringlet.kvm.memory import GuestMemory, anonymous

from ..machine_code import protected, run

CPUS = pytest.mark.parametrize("cpus", [1, 2, 8, 255])
SIZES = {0: 20, 1: 8, 2: 8, 3: 8, 4: 8}  # of an entry, by its type


class Table(NamedTuple):
    local_apic: int
    entries: dict[int, list[bytes]]  # by type


def find(memory: GuestMemory) -> Table:
    """As the specification's 4 says: in the extended BIOS data area, or below 1 MiB."""
    ebda = int.from_bytes(memory.read(0x40E, 2), "little") << 4
    for first, end in ((ebda, ebda + 1024), (0xF0000, 0x100000)):
        for address in range(first, end, 16):
            pointer = memory.read(address, 16)
            if pointer[:4] == b"_MP_":
                assert sum(pointer) % 256 == 0
                assert pointer[8:10] == b"\x01\x04"  # paragraphs, revision
                assert pointer[11:] == bytes(5)  # a table of its own, and no IMCR
                return read(memory, int.from_bytes(pointer[4:8], "little"))
    raise AssertionError("there is none")


def read(memory: GuestMemory, address: int) -> Table:
    size = int.from_bytes(memory.read(address + 4, 2), "little")
    table = memory.read(address, size)
    assert (table[:4], table[6], sum(table) % 256) == (b"PCMP", 4, 0)
    count, local_apic = struct.unpack_from("<HI", table, 34)
    entries: dict[int, list[bytes]] = {kind: [] for kind in SIZES}
    at = 44
    for _ in range(count):
        entries[table[at]].append(table[at : at + SIZES[table[at]]])
        at += SIZES[table[at]]
    assert at == size
    return Table(local_apic, entries)


def found(cpus: int) -> Table:
    with GuestMemory([anonymous(0, 1 << 20)]) as memory:
        write_mp_table(memory, cpus=cpus)
        return find(memory)


@CPUS
def test_every_processor_has_its_apic_id_and_the_first_one_boots(cpus: int) -> None:
    processors = found(cpus).entries[0]
    assert [entry[1] for entry in processors] == list(range(cpus))
    assert [entry[3] for entry in processors] == [3] + [1] * (cpus - 1)


def test_the_apics_are_kvms() -> None:
    table = found(2)
    assert table.local_apic == 0xFEE00000
    (io_apic,) = table.entries[2]
    assert (io_apic[1], io_apic[3]) == (0, 1)
    assert int.from_bytes(io_apic[4:], "little") == 0xFEC00000


def test_each_isa_line_arrives_at_the_input_of_its_number() -> None:
    table = found(1)
    assert table.entries[1] == [b"\x01\x00ISA   "]
    lines = [struct.unpack("<BBHBBBB", entry) for entry in table.entries[3]]
    assert [(kind, bus, line, apic, pin) for _, kind, _, bus, line, apic, pin in lines] == [
        (0, 0, line, 0, line) for line in range(16)
    ]
    level = [line for _, _, flags, _, line, _, _ in lines if flags]
    assert level == [layout.SCI_IRQ]
    local = [struct.unpack("<BBHBBBB", entry) for entry in table.entries[4]]
    assert [(kind, apic, pin) for _, kind, _, _, _, apic, pin in local] == [
        (3, 0xFF, 0),
        (1, 0xFF, 1),
    ]


def test_the_bios_data_area_tells_how_far_memory_goes() -> None:
    with GuestMemory([anonymous(0, 1 << 20)]) as memory:
        write_mp_table(memory, cpus=1)
        words = [int.from_bytes(memory.read(address, 2), "little") for address in (0x40E, 0x413)]
        assert words == [0x9FC0, 639]
        assert memory.read(0x400, 14) == bytes(14)
        assert memory.read(0x415, 0x1000) == bytes(0x1000)


def test_the_largest_lies_beside_the_largest_acpi_tables_and_below_1_mib() -> None:
    assert layout.RSDP + len(tables(255, ())) <= layout.RSDP + layout.ACPI_SIZE <= layout.MP_TABLE
    assert layout.MP_TABLE + len(mp_table(255)) <= layout.HIGH_MEMORY
    assert mp_table(300) == mp_table(255)  # more have no entry, and are found by ACPI


def test_nothing_is_written_where_ram_ends_below_1_mib() -> None:
    with GuestMemory([anonymous(0, 0xA0000)]) as memory:
        write_mp_table(memory, cpus=1)
        assert memory.read(0, 0xA0000) == bytes(0xA0000)


@pytest.mark.needs_kvm
@pytest.mark.parametrize("cpus", [1, 3])
def test_a_guest_finds_the_number_of_entries(cpus: int) -> None:
    # mov eax, [0xfc004]: the table. mov al, [eax + 34]: the count; out 0xf4, al
    code = b"\xa1\x04\xc0\x0f\x00" + b"\x8a\x40\x22" + b"\xe6\xf4"
    result = run(protected(code), protocol=None, cpus=cpus)
    assert (result.reason, result.status) == ("exit-port", cpus + 20)


@pytest.mark.needs_kvm
def test_a_flat_image_finds_no_table() -> None:
    # mov ax, 0xf000; mov ds, ax; mov al, [0xc000]; out 0xf4, al
    code = b"\xb8\x00\xf0\x8e\xd8\xa0\x00\xc0\xe6\xf4"
    assert run(code).status == 0
