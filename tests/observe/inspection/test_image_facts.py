import io
import json
import time
from contextlib import redirect_stdout
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ringlet.boot import PROTOCOLS, open_kernel
from ringlet.cli.image_table import print_facts
from ringlet.emulated.installed_kernel import find_kernel
from ringlet.errors import ConfigError, ImageError, RingletError
from ringlet.machine.guests import guests, packaged
from ringlet.observe.inspection.image_facts import ImageFacts, examine

from ...boot.bzimage_builder import LINUX_NOTE, LOAD_ADDRESS, VMLINUX, bzimage, payload
from ...boot.elf_builder import (
    Part,
    build,
    header_fields,
    note,
    notes,
    program_header_fields,
    pvh_note,
)
from ...boot.guest import guest_memory
from ...boot.multiboot_builder import flat, header
from ...examples import examples
from .test_kernel_config import INSIDE, TEXT

CODE = Part(0x100000, b"\xf4" * 64)
BOOT_SECTOR = b"\xf4".ljust(510, b"\0") + b"\x55\xaa"


def facts(image: bytes | bytearray, protocol: str | None = None) -> ImageFacts:
    return examine(bytes(image), protocol)[0]


def shown(found: ImageFacts) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        print_facts(found)
    return out.getvalue()


# The protocol and the reason.


@pytest.mark.parametrize(
    ("image", "protocol", "why"),
    [
        (build(64, [CODE, pvh_note(0x100000)]), "pvh", "the note XEN_ELFNOTE_PHYS32_ENTRY"),
        (VMLINUX, "linux", 'a note with the name "Linux", in an ELF of 64 bits'),
        (bzimage(), "linux", "the magic HdrS at byte 0x202"),
        (flat(), "multiboot", "a Multiboot header in the first 8192 bytes"),
        (build(64, [CODE]), "elf64", "the class ELFCLASS64, an ELF of 64 bits"),
        (BOOT_SECTOR, "flat", "the boot signature 55 AA at byte 510"),
    ],
)
def test_the_protocol_has_its_reason(image: bytes, protocol: str, why: str) -> None:
    found = facts(image)
    assert (found.protocol, found.why, found.error) == (protocol, f"it has {why}", None)
    assert (found.looks[-1].sign, found.looks[-1].has) == (why, True)
    assert f"{protocol}: it has {why}" in shown(found)


def test_the_protocols_looked_at_before_are_told_with_what_they_missed() -> None:
    looks = [(look.protocol, look.has) for look in facts(build(64, [CODE])).looks]
    assert looks[2:] == [("linux", False), ("pvh", False), ("multiboot", False), ("elf64", True)]


def test_a_protocol_that_was_given_is_the_reason() -> None:
    found = facts(build(64, [CODE, pvh_note(0x100000)]), "elf64")
    assert (found.protocol, found.why) == ("elf64", "--protocol elf64 is given")
    assert found.looks == []
    assert found.entry is not None
    assert found.entry.bits == 64


@pytest.mark.parametrize("guest", guests(), ids=lambda guest: guest.name)
def test_each_packaged_guest_is_told_as_ringlet_boots_it(guest) -> None:  # type: ignore[no-untyped-def]
    found, _ = examine(guest.path)
    with open_kernel(guest.path) as kernel, guest_memory(kernel.usual_memory) as memory:
        entry = kernel.load(memory)
        assert found.error is None
        assert found.protocol == kernel.protocol
        assert found.entry is not None
        assert found.entry.address == entry.special.cs.base + entry.registers.rip
        code = bytes.fromhex("".join(each.bytes for each in found.entry.code))
        assert code == memory.read(found.entry.address, len(code)) != b""


def test_the_packaged_guests_show_each_kind_of_start() -> None:
    kinds = set()
    for name in ("hello", "hello16", "multiboot", "longmode", "smp"):
        found, _ = examine(packaged(name))
        assert found.entry is not None
        kinds.add((found.protocol, found.entry.bits))
    assert {("pvh", 32), ("flat", 16), ("multiboot", 32)} <= kinds


# What lies where.


def test_segments_have_their_places_sizes_and_rights() -> None:
    image = build(64, [Part(0x100000, b"\xf4" * 16, 0x1000), Part(0x200000, b"data")])
    first, second = facts(image).segments
    assert (first.address, first.file_size, first.memory_size) == (0x100000, 16, 0x1000)
    assert bytes(image[second.offset : second.offset + second.file_size]) == b"data"
    assert first.rights == "rwx"
    assert facts(BOOT_SECTOR).segments[0].rights is None


def test_many_segments_and_notes_are_counted_and_the_first_shown() -> None:
    parts = [Part(0x100000 + 0x1000 * number, b"\xf4") for number in range(100)]
    many = notes(note(b"1234", name=b"Some\0", kind=1) * 1000)
    found = facts(build(64, [*parts, many]))
    assert (found.segment_count, len(found.segments)) == (100, 32)
    assert (found.note_count, len(found.notes)) == (1000, 32)
    assert "... and 68 more" in shown(found)
    assert "... and 968 more" in shown(found)


def test_notes_that_can_not_be_read_are_said_where_nothing_needs_them() -> None:
    found = facts(build(64, [CODE, notes(note(b"1234", size=1 << 31))]), "elf64")
    assert found.error is None
    assert found.note_error is not None
    assert "is cut short" in found.note_error
    assert "is cut short" in shown(found)


# Linux.


def test_of_a_bzimage_the_kernel_inside_is_shown() -> None:
    found = facts(bzimage())
    assert found.linux is not None
    assert found.linux.header is not None
    assert found.linux.header.payload.error is None
    assert found.entry is not None
    assert found.entry.address == LOAD_ADDRESS + 0x10
    assert [note.owner for note in found.notes] == ["Linux"]


def test_a_bzimage_that_the_guest_has_to_decompress_shows_its_own_code_and_why() -> None:
    found = facts(bzimage(b"not compressed"))
    assert found.error is None
    assert found.linux is not None
    assert found.linux.header is not None
    assert found.linux.header.payload.compression == "an unknown format"
    assert found.linux.header.payload.error is not None
    assert found.entry is not None
    assert found.entry.address == LOAD_ADDRESS + 0x200
    assert {each.text for each in found.entry.code} == {"nop"}


def test_a_kernel_that_needs_very_much_memory_is_not_decompressed() -> None:
    found = facts(bzimage(init_size=0x2000_0001))
    assert found.linux is not None
    assert found.linux.header is not None
    assert found.linux.header.payload.error == "it needs more than 512 MiB to start"


def test_a_configuration_is_found_in_a_bzimage() -> None:
    code = Part(LOAD_ADDRESS, b"\xf4" * 64 + INSIDE)
    vmlinux = bytes(build(64, [code, LINUX_NOTE], entry=LOAD_ADDRESS))
    found, text = examine(bytes(bzimage(payload("gzip", vmlinux))))
    assert text == TEXT
    assert found.linux is not None
    assert found.linux.config.source == "image"
    assert "a module (CONFIG_VIRTIO_MMIO)" in shown(found)


@pytest.mark.needs_nested_kernel
def test_a_stock_kernel_is_told_with_all_that_it_says() -> None:
    kernel = find_kernel().vmlinuz
    release = kernel.name.removeprefix("vmlinuz-")
    found, text = examine(kernel)
    assert (found.protocol, found.error) == ("linux", None)
    assert found.linux is not None
    assert found.linux.version.startswith(f"{release} ")
    assert found.linux.header is not None
    assert "XLF_KERNEL_64" in found.linux.header.xloadflags
    assert found.linux.header.relocatable
    assert found.linux.header.payload.error is None
    assert found.entry is not None
    assert found.entry.address >= found.linux.header.pref_address
    assert found.entry.bits == 64
    assert "XEN_ELFNOTE_PHYS32_ENTRY" in [note.name for note in found.notes]
    if found.linux.config.source is None:
        assert text == b""
        assert f"/boot/config-{release}" in found.linux.config.places
    else:
        assert b"CONFIG_" in text
    lines = shown(found).splitlines()
    assert len(lines) < 120


# What can't be booted.


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (b"some text", "it looks like text"),
        (build(64, [CODE], machine=183), "for AArch64"),
        (build(64, [CODE], kind=3), "position-independent"),
        (build(32, [CODE]), "no PVH note and no Multiboot header"),
        (bzimage()[:0x280], "cut short"),
        (build(64, [CODE], entry=0x300000), "its entry point 0x300000 is in no segment"),
        (build(64, [CODE, CODE]), "overlap"),
    ],
)
def test_an_image_that_can_not_be_booted_is_told_as_far_as_it_is_known(
    image: bytes, error: str
) -> None:
    found = facts(image)
    assert found.error is not None
    assert error in found.error
    assert found.hint
    assert found.size == len(image)
    assert found.magic == bytes(image[:16]).hex(" ")
    assert found.looks
    assert found.entry is None
    assert shown(found)


def test_a_wrong_image_of_a_known_protocol_shows_its_segments() -> None:
    found = facts(build(64, [CODE, CODE]))
    assert (found.protocol, found.segment_count) == ("elf64", 2)


def test_an_elf_of_65535_segments_is_refused_at_once() -> None:
    image = build(64, [CODE])
    header_fields(64)["e_phnum"].put(image, 0xFFFF)
    found = facts(image)
    assert found.error is not None
    assert "65535 program headers" in found.error


def test_notes_of_4_gib_are_refused_at_once(tmp_path: Path) -> None:
    image = build(64, [CODE, notes(b"")])
    program_header_fields(64, 1)["p_filesz"].put(image, 4 << 30)
    path = tmp_path / "huge"
    path.write_bytes(image)
    with path.open("r+b") as file:
        file.truncate(5 << 30)  # sparse
    found, _ = examine(path)
    assert found.error is not None
    assert "bytes of notes" in found.error


def test_a_segment_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    image = build(64, [Part(0x100000, b"\xf4" * 64, 2 << 30), LINUX_NOTE])
    program_header_fields(64, 0)["p_filesz"].put(image, 2 << 30)
    path = tmp_path / "huge"
    path.write_bytes(image)
    with path.open("r+b") as file:
        file.truncate(3 << 30)  # sparse
    before = time.process_time()
    found, _ = examine(path)
    assert found.error is None
    assert time.process_time() - before < 10


def test_what_can_not_be_opened_and_an_unknown_protocol_raise(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="there is no image"):
        examine(tmp_path / "absent")
    with pytest.raises(ConfigError, match="there is no boot protocol"):
        examine(BOOT_SECTOR, "odd")


def test_nothing_stays_open(no_leak: None) -> None:
    for image in (bzimage(), VMLINUX, b"text", build(64, [CODE, CODE]), bzimage(b"odd")):
        facts(image)


# Property tests: images with one or more things wrong with them.

SEEDS = [
    bytes(image)
    for image in (
        build(64, [CODE, pvh_note(0x100000), notes(note(b"1", name=b"GNU\0", kind=5))]),
        build(32, [Part(0x100000, header() + b"\xf4" * 52)]),
        flat(),
        build(64, [CODE]),
        build(64, [Part(LOAD_ADDRESS, b"Linux version 6\n" + INSIDE), LINUX_NOTE]),
        bzimage(),
        BOOT_SECTOR,
    )
]
flips = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=8)
runs = st.lists(
    st.tuples(st.integers(0, 700), st.sampled_from([b"\xff" * 8, bytes(8), b"\x1b[31m", b"\n\n"])),
    max_size=3,
)


def check(image: bytes, protocol: str | None) -> None:
    """The facts are found in time, and no control character reaches the output."""
    before = time.process_time()
    try:
        found, _ = examine(image, protocol)
    except RingletError:
        assert not image  # nothing else can't be opened
        return
    data = msgspec.to_builtins(found)
    assert all(c.isprintable() or c == "\n" for c in shown(found))
    assert all(c.isprintable() or c == "\n" for c in json.dumps(data, indent=2))
    assert len(json.dumps(data)) < 50_000
    assert found.error is not None or found.entry is not None
    assert time.process_time() - before < 10


@settings(max_examples=examples(1000), deadline=None)
@given(
    st.sampled_from(SEEDS),
    flips,
    runs,
    st.none() | st.integers(0, 3000),
    st.none() | st.sampled_from(PROTOCOLS),
)
def test_a_mutated_image_is_told_in_time_without_control_characters(
    seed: bytes,
    flips: list[tuple[int, int]],
    runs: list[tuple[int, bytes]],
    size: int | None,
    protocol: str | None,
) -> None:
    image = bytearray(seed)
    for offset, value in flips:
        image[offset % len(image)] = value
    for offset, run in runs:
        image[offset : offset + len(run)] = run
    check(bytes(image[:size]), protocol)


@settings(max_examples=examples(300), deadline=None)
@given(st.binary(max_size=700), st.none() | st.sampled_from(PROTOCOLS))
@example(b"\x7fELF" + b"\x1b" * 100, None)
def test_noise_is_told_in_time_without_control_characters(noise: bytes, protocol: str) -> None:
    check(noise, protocol)
