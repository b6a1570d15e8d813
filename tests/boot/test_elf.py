import re

import pytest

from ringlet.board import layout
from ringlet.boot import elf
from ringlet.boot.image import open_image
from ringlet.errors import ConfigError, ImageError, RingletError
from ringlet.kvm.memory import GuestMemory

from .elf_builder import (
    PT_LOAD,
    Part,
    build,
    header_fields,
    note,
    notes,
    program_header_fields,
)
from .guest import guest_memory, written_outside

BOTH = pytest.mark.parametrize("bits", [32, 64])
CODE = Part(0x100000, b"\xf4" * 64)


def load(image: bytes | bytearray, memory: GuestMemory, entry: int = 0x100000) -> None:
    """Parse, check and load."""
    with open_image(bytes(image)) as opened:
        parsed = elf.parse(opened)
        elf.check_segments(opened, parsed, memory, entry)
        elf.load_segments(opened, parsed, memory)


def refused(
    image: bytes | bytearray, message: str, *, entry: int = 0x100000, memory: int = 4 << 20
) -> RingletError:
    with (
        guest_memory(memory) as guest,
        pytest.raises(RingletError, match=re.escape(message)) as caught,
    ):
        load(image, guest, entry)
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


@BOTH
def test_segments_are_read_to_their_physical_addresses(bits: int) -> None:
    high = 0xFFFFFFFF_81000000 if bits == 64 else 0xC0100000
    parts = [
        Part(0x200000, b"data", 0x3000, virtual=high),
        Part(0x100000, b"code" * 100, virtual=0),  # Linux has one at virtual address 0
        Part(0x100190, b"next", virtual=high + 0x5000),
    ]
    with guest_memory(4 << 20) as memory:
        load(build(bits, parts), memory)
        assert memory.read(0x100000, 404) == b"code" * 100 + b"next"
        assert memory.read(0x200000, 5) == b"data\0"
        assert not written_outside(memory, [(0x100000, 404), (0x200000, 4)])


@BOTH
def test_bss_is_zero_where_the_firmwares_tables_would_lie(bits: int) -> None:
    low = Part(0x400, b"x", 0x100)
    tables = Part(0xE0000, b"", 0x20100)
    with guest_memory(4 << 20) as memory:
        memory.write(0x400, b"\xff" * 0x101)
        memory.write(0xE0000, b"\xff" * 0x20000)
        load(build(bits, [low, tables, CODE._replace(address=0x110000)]), memory, 0x110000)
        assert memory.read(0x400, 0x101) == b"x" + bytes(0xFF) + b"\xff"
        assert memory.read(0xE0000, 0x20100) == bytes(0x20100)


@BOTH
def test_headers_are_what_was_built(bits: int) -> None:
    parts = [CODE, Part(0, b"", 0), notes(note(b"1234"))]
    with open_image(bytes(build(bits, parts, entry=0x100010))) as image:
        parsed = elf.parse(image)
    assert (parsed.bits, parsed.entry) == (bits, 0x100010)
    assert [(s.address, s.file_size, s.end) for s in parsed.segments] == [(0x100000, 64, 0x100040)]
    assert [s.file_size for s in parsed.notes] == [20]


def test_a_32_bit_elf_may_be_for_i386_or_x86_64_and_a_64_bit_one_only_for_x86_64() -> None:
    with guest_memory(4 << 20) as memory:
        load(build(32, [CODE], machine=3), memory)
        load(build(32, [CODE], machine=62), memory)
    refused(build(64, [CODE], machine=3), "a 64-bit ELF for i386")


def test_what_is_no_elf_is_refused() -> None:
    refused(b"\x7fELG" + bytes(100), "is not an ELF")
    refused(b"\x7f", "is not an ELF")


@BOTH
def test_an_elf_cut_short_anywhere_in_its_headers_is_refused(bits: int) -> None:
    image = build(bits, [CODE])
    end = len(image) - len(CODE.data)
    for size in range(4, end):
        refused(image[:size], "is cut short")


@BOTH
def test_an_elf_cut_short_in_a_segment_is_refused(bits: int) -> None:
    refused(build(bits, [CODE])[:-1], "is cut short")


@pytest.mark.parametrize(
    ("machine", "name"), [(183, "AArch64"), (243, "RISC-V"), (9999, "machine 9999")]
)
def test_an_elf_of_another_machine_is_named(machine: int, name: str) -> None:
    refused(build(64, [CODE], machine=machine), f"is a 64-bit ELF for {name}")


def test_a_big_endian_elf_is_named() -> None:
    image = build(64, [CODE])
    image[5] = 2
    image[18:20] = (22).to_bytes(2, "big")
    refused(image, "is a 64-bit big-endian ELF for IBM S/390")


@pytest.mark.parametrize(("offset", "what"), [(4, "class"), (5, "byte order")])
@pytest.mark.parametrize("value", [0, 3, 255])
def test_an_unknown_class_or_byte_order_is_refused(offset: int, what: str, value: int) -> None:
    image = build(64, [CODE])
    image[offset] = value
    refused(image, f"its {what} is {value}")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (1, "is an object file, not linked yet"),
        (3, "is a shared object or a position-independent executable"),
        (4, "is a core dump"),
        (0, "its type is 0"),
        (0xFE00, "its type is 65024"),
    ],
)
@BOTH
def test_only_an_executable_at_fixed_addresses_is_taken(bits: int, kind: int, message: str) -> None:
    refused(build(bits, [CODE], kind=kind), message)


@BOTH
def test_the_program_header_table_is_bounded(bits: int) -> None:
    fields = header_fields(bits)
    for name, value, message in [
        ("e_phnum", 0, "it has no program headers"),
        ("e_phnum", 129, "it has 129 program headers, more than 128"),
        ("e_phnum", 0xFFFF, "it has 65535 program headers"),  # PN_XNUM
        ("e_phnum", 128, "is cut short"),
        ("e_phentsize", 0, "a program header has 0 bytes"),
        ("e_phentsize", 88 - fields["e_phentsize"].get(build(bits, [])), "a program header has"),
        ("e_phoff", -1, "is cut short"),
        ("e_phoff", 1 << 31, "is cut short"),
    ]:
        image = build(bits, [CODE])
        fields[name].put(image, value)
        refused(image, message)


@BOTH
def test_an_elf_with_nothing_to_load_is_refused(bits: int) -> None:
    refused(build(bits, [notes(note(b"1234"))]), "it has no segment to load")
    refused(build(bits, [Part(0x100000, b"", 0)]), "it has no segment to load")


@BOTH
def test_an_empty_segment_is_skipped_wherever_it_is(bits: int) -> None:
    with guest_memory(4 << 20) as memory:
        load(build(bits, [CODE, Part((1 << bits) - 1, b"", 0)]), memory)


@BOTH
def test_more_bytes_in_the_file_than_in_memory_are_refused(bits: int) -> None:
    refused(build(bits, [Part(0x100000, bytes(64), 63)]), "has 0x40 bytes in the file for 0x3f")


@BOTH
def test_a_segment_beyond_the_file_is_refused(bits: int) -> None:
    for name, value in [("p_offset", -1), ("p_offset", 1 << 31), ("p_filesz", 65)]:
        image = build(bits, [CODE._replace(memory_size=0x1000)])
        program_header_fields(bits, 0)[name].put(image, value)
        refused(image, "is cut short")


@BOTH
def test_bss_alone_may_have_any_file_offset(bits: int) -> None:
    image = build(bits, [CODE, Part(0x200000, b"", 0x1000)])
    program_header_fields(bits, 1)["p_offset"].put(image, -1)
    with guest_memory(4 << 20) as memory:
        load(image, memory)


@BOTH
def test_overlapping_segments_are_refused_and_adjacent_ones_taken(bits: int) -> None:
    for address in (0x10003F, 0xFFFC1, 0x100000):
        refused(build(bits, [CODE, Part(address, bytes(64))]), "overlap")
    refused(build(bits, [Part(0xFF000, b"", 0x10000), CODE]), "overlap")
    with guest_memory(4 << 20) as memory:
        load(build(bits, [Part(0x100040, b"x"), CODE, Part(0xFFFFF, b"y")]), memory)


@BOTH
def test_a_segment_that_wraps_around_is_refused(bits: int) -> None:
    for address in ((1 << bits) - 64, (1 << bits) - 1):
        refused(build(bits, [CODE, Part(address, bytes(65))]), "outside the guest's memory")
    image = build(bits, [CODE])
    program_header_fields(bits, 0)["p_memsz"].put(image, -1)
    refused(image, "outside the guest's memory")


def test_a_segment_in_the_mmio_hole_is_refused() -> None:
    for address in (layout.MMIO_HOLE - 1, layout.MMIO_HOLE, 0xFEE00000, layout.MMIO_HOLE_END - 1):
        refused(
            build(64, [CODE, Part(address, bytes(2))]), "outside the guest's memory", memory=6 << 30
        )


def test_a_segment_in_ram_above_4_gib_is_loaded() -> None:
    above = layout.MMIO_HOLE_END + 0x1000
    image = build(64, [CODE, Part(above, b"high")])
    with guest_memory((3 << 30) + 0x2000) as memory:
        load(image, memory)
        assert memory.read(above, 4) == b"high"
    refused(image, "outside the guest's memory", memory=3 << 30)


@BOTH
def test_too_little_memory_says_how_much_all_segments_need(bits: int) -> None:
    image = build(bits, [CODE, Part(0x200000, b"x", 0x100001), Part(0x500000, b"x")])
    error = refused(image, "needs 6 MiB of memory, the guest has 2048 KiB", memory=2 << 20)
    assert isinstance(error, ConfigError)
    assert error.hint == "give it more: --memory 6M"


@BOTH
def test_memory_must_hold_the_boot_data(bits: int) -> None:
    image = build(bits, [Part(0x1000, b"x")])
    refused(image, "needs 1 MiB", entry=0x1000, memory=layout.BOOT_DATA_END - 0x1000)
    with guest_memory(layout.BOOT_DATA_END) as memory:
        load(image, memory, 0x1000)


@BOTH
def test_the_entry_point_must_be_in_a_segment(bits: int) -> None:
    for entry in (0, 0xFFFFF, 0x100040, (1 << bits) - 1):
        refused(build(bits, [CODE]), f"its entry point {entry:#x} is in no segment", entry=entry)
    with guest_memory(4 << 20) as memory:
        load(build(bits, [CODE]), memory, 0x10003F)


def walk(*parts: Part, bits: int = 64) -> list[tuple[bytes, int, bytes]]:
    with open_image(bytes(build(bits, [CODE, *parts]))) as image:
        return list(elf.notes(image, elf.parse(image)))


@BOTH
@pytest.mark.parametrize("align", [4, 8])
def test_notes_are_walked_by_the_alignment_of_their_segment(bits: int, align: int) -> None:
    data = b"".join(
        note(descriptor, name=name, kind=kind, align=align)
        for name, kind, descriptor in [
            (b"GNU\0", 5, b"123456789"),
            (b"Odd", 1, b""),
            (b"Xen\0", 18, b"1234"),
        ]
    )
    assert walk(notes(data, align), notes(note(b"", name=b"")), bits=bits) == [
        (b"GNU\0", 5, b"123456789"),
        (b"Odd", 1, b""),
        (b"Xen\0", 18, b"1234"),
        (b"", 18, b""),
    ]


def test_bytes_too_few_for_a_note_are_padding() -> None:
    assert walk(notes(note(b"1234") + bytes(11))) == [(b"Xen\0", 18, b"1234")]


@pytest.mark.parametrize("size", [5, 0xFFFFFFFF])
def test_a_note_that_reaches_beyond_its_segment_is_an_error(size: int) -> None:
    with pytest.raises(ImageError, match="the note at 0xf0 is cut short"):
        walk(notes(note(b"1234", size=size)))


def test_the_name_of_a_note_is_bounded_by_its_segment() -> None:
    data = bytearray(note(b"1234"))
    data[:4] = b"\xff\xff\xff\xff"
    with pytest.raises(ImageError, match="is cut short"):
        walk(notes(bytes(data)))


def test_a_note_segment_beyond_the_file_is_an_error() -> None:
    image = build(64, [CODE, notes(note(b"1234"))])
    program_header_fields(64, 1)["p_filesz"].put(image, 21)
    program_header_fields(64, 1)["p_offset"].put(image, len(image) - 20)
    with open_image(bytes(image)) as opened, pytest.raises(ImageError, match="is cut short"):
        list(elf.notes(opened, elf.parse(opened)))


def test_notes_are_bounded_all_together() -> None:
    half = notes(bytes(32 << 10))
    walk(half, half)
    with pytest.raises(ImageError, match="more than 65536 bytes of notes"):
        walk(half, half, notes(bytes(1)))


def test_only_note_segments_are_looked_at_for_notes() -> None:
    assert walk(Part(0x200000, note(b"1234"), type=PT_LOAD), Part(0, note(b"1234"), type=7)) == []
