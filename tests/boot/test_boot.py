"""What `load` chooses and refuses; and that no image, however broken, does more than that."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlet.board import layout
from ringlet.boot import PROTOCOLS, Entry, open_image, open_kernel
from ringlet.errors import ConfigError, ImageError, RingletError

from ..examples import examples
from .bzimage_builder import VMLINUX, bzimage
from .elf_builder import (
    HEADER_SIZE,
    PROGRAM_HEADER_SIZE,
    Part,
    build,
    header_fields,
    loads,
    note,
    notes,
    program_header_fields,
)
from .guest import boot_data_beside, guest_memory, written_outside
from .multiboot_builder import header

CODE = Part(0x100000, b"\xf4" * 64)
PVH = (0x100000).to_bytes(4, "little")


def test_the_protocols_have_names() -> None:
    assert PROTOCOLS == ("flat", "linux", "multiboot", "pvh", "elf64")


@pytest.mark.parametrize(
    ("image", "cr0"),
    [
        (bytes(510) + b"\x55\xaa", 0x10),
        (build(32, [CODE, notes(note(PVH))]), 0x11),
        (build(64, [CODE]), 0x80000011),
        (build(32, [Part(0x100000, header())]), 0x11),
        (bzimage(), 0x80000011),
        (VMLINUX, 0x80000011),
    ],
)
def test_the_image_chooses_the_protocol(image: bytes, cr0: int) -> None:
    with open_kernel(bytes(image)) as kernel, guest_memory(4 << 20) as memory:
        assert kernel.load(memory).special.cr0 == cr0


def test_an_option_chooses_the_protocol() -> None:
    image = bytes(build(64, [CODE, notes(note(PVH))]))
    names = ("flat", "pvh", "elf64", "linux")
    entries = {}
    with guest_memory(4 << 20) as memory:
        for name in names:
            with open_kernel(image, name) as kernel:
                assert kernel.protocol == name
                entries[name] = kernel.load(memory)
    states = {name: entry.special.cr0 for name, entry in entries.items()}
    assert states == {"flat": 0x10, "pvh": 0x11, "elf64": 0x80000011, "linux": 0x80000011}
    assert entries["linux"].registers.rsi == layout.ZERO_PAGE


def refused(  # type: ignore[no-untyped-def]
    image: bytes | bytearray,
    error: type[RingletError],
    message: str,
    protocol: str | None = None,
    **options,
) -> None:
    with guest_memory(4 << 20) as memory:
        with (
            pytest.raises(error, match=message) as caught,
            open_kernel(bytes(image), protocol) as kernel,
        ):
            kernel.load(memory, **options)
        assert not written_outside(memory, [])
    assert caught.value.hint


def test_an_unknown_protocol_is_refused() -> None:
    refused(b"x", ConfigError, "there is no boot protocol 'multiboot2'", protocol="multiboot2")


def test_a_flat_image_takes_an_address_and_no_command_line_or_modules() -> None:
    with (
        open_kernel(b"\xf4", "flat") as kernel,
        open_image(b"m") as module_image,
        guest_memory(1 << 20) as memory,
    ):
        assert kernel.load(memory, load_address=0).registers.rip == 0
        assert kernel.load(memory).registers.rip == 0x7C00
        module = (module_image, b"")
        for options in ({"command_line": b"x"}, {"modules": [module]}):
            refused(b"x", ConfigError, "is a flat image", protocol="flat", **options)


@pytest.mark.parametrize("protocol", ["pvh", "elf64", "linux", "multiboot"])
def test_a_kernel_takes_no_load_address(protocol: str) -> None:
    bits = 32 if protocol == "multiboot" else 64
    image = build(bits, [CODE._replace(data=header() + CODE.data), notes(note(PVH))])
    refused(image, ConfigError, "not at a load address", protocol=protocol, load_address=0)


@pytest.mark.parametrize("protocol", ["pvh", "elf64"])
def test_what_is_no_elf_is_refused_by_an_elfs_protocol(protocol: str) -> None:
    refused(b"text", ImageError, "is not an ELF", protocol=protocol)


@pytest.mark.parametrize("protocol", ["pvh", "elf64"])
def test_modules_and_command_line_reach_the_guest(protocol: str) -> None:
    image = bytes(build(64, [CODE, notes(note(PVH))]))
    with (
        open_kernel(image, protocol) as kernel,
        open_image(b"module") as module,
        guest_memory(4 << 20) as memory,
    ):
        kernel.load(memory, command_line=b"line", modules=[(module, b"m")])
        assert memory.read(layout.COMMAND_LINE, 7) == b"line\0m\0"
        assert memory.read(0x3FF000, 6) == b"module"


# Property tests: images with one or more things wrong with them.

MEMORY = 0x20000  # little, so that looking at all of it is quick
LOW_PVH = (0x10010).to_bytes(4, "little")
PARTS = [
    Part(0x10000, b"\xf4" * 64, virtual=0),
    Part(0x18000, b"data" * 16, 0x2000, virtual=0xC0018000),
    notes(note(b"build id", name=b"GNU\0", kind=3) + note(LOW_PVH)),
]
IMAGES = [
    build(bits, parts, entry=0x10000)
    for bits in (32, 64)
    for parts in (PARTS, [*PARTS[:2], notes(b"")])
]
FIELDS = {
    bits: [
        *header_fields(bits).values(),
        *(field for i in range(3) for field in program_header_fields(bits, i).values()),
    ]
    for bits in (32, 64)
}
EXTREMES = sorted(
    {base + delta for base in (0, 1 << 16, 1 << 32, 1 << 63, 1 << 64) for delta in (-1, 0, 1)}
    | {0x6000, 0xF000, 0x9FC00, 0xFFC0, 0x18000, MEMORY, 1 << 31, 3 << 30, 12, 64}
)


def loaded_or_refused(image: bytearray, protocol: str | None) -> Entry | None:
    """Load it; check that memory holds what the image says and no more, or nothing at all."""
    with guest_memory(MEMORY) as memory:
        try:
            with open_kernel(bytes(image), protocol) as kernel:
                entry = kernel.load(memory)
        except RingletError:
            assert not written_outside(memory, [])
            return None
        segments = list(loads(image))
        assert any(a <= entry.registers.rip < a + len(data) for a, data in segments)
        for address, data in segments:
            assert memory.read(address, len(data)) == data
        ranges = [(address, len(data)) for address, data in segments]
        boot_data = boot_data_beside(ranges, entry.registers.rbx or entry.registers.rdi)
        assert not written_outside(memory, [boot_data, *ranges])
        return entry


images = st.sampled_from(IMAGES).map(bytearray)
protocols = st.sampled_from([None, "pvh", "elf64"])
flips = st.lists(st.tuples(st.integers(0, 511), st.integers(0, 255)), min_size=1, max_size=6)
values = st.sampled_from(EXTREMES) | st.integers(0, (1 << 64) - 1)
changes = st.lists(st.tuples(st.integers(0, 63), values), min_size=1, max_size=4)


@pytest.mark.parametrize("image", IMAGES)
def test_the_images_below_load_before_they_are_broken(image: bytearray) -> None:
    has_note = image.endswith(LOW_PVH)
    if has_note or image[4] == 2:
        assert loaded_or_refused(image, None)
        assert loaded_or_refused(image, "pvh" if has_note else "elf64")
    else:
        assert not loaded_or_refused(image, None)


@settings(max_examples=examples(1500), deadline=None)
@given(images, protocols, flips)
def test_flipped_bytes_are_loaded_or_refused(
    image: bytearray, protocol: str | None, flips: list[tuple[int, int]]
) -> None:
    for offset, value in flips:
        image[offset % len(image)] = value
    loaded_or_refused(image, protocol)


@settings(max_examples=examples(1500), deadline=None)
@given(images, protocols, changes)
def test_extreme_fields_are_loaded_or_refused(
    image: bytearray, protocol: str | None, changes: list[tuple[int, int]]
) -> None:
    fields = FIELDS[32 * image[4]]
    for index, value in changes:
        fields[index % len(fields)].put(image, value)
    loaded_or_refused(image, protocol)


@settings(max_examples=examples(500), deadline=None)
@given(images, protocols, st.binary(max_size=200))
def test_program_headers_of_noise_are_loaded_or_refused(
    image: bytearray, protocol: str | None, noise: bytes
) -> None:
    bits = 32 * image[4]
    start = HEADER_SIZE[bits]
    end = start + len(PARTS) * PROGRAM_HEADER_SIZE[bits]
    image[start:end] = noise.ljust(end - start, b"\0")[: end - start]
    loaded_or_refused(image, protocol)


@settings(max_examples=examples(500), deadline=None)
@given(st.binary(min_size=1, max_size=600), protocols)
def test_noise_is_refused(noise: bytes, protocol: str | None) -> None:
    assert loaded_or_refused(bytearray(noise[:510]), protocol) is None


@pytest.mark.parametrize("image", IMAGES)
def test_every_truncation_is_refused(image: bytearray) -> None:
    for size in range(1, len(image)):
        assert loaded_or_refused(image[:size], None) is None
