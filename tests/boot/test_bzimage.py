import pytest

from ringlet.boot import open_image, open_kernel
from ringlet.boot.bzimage import BzImage, parse
from ringlet.errors import ImageError

from .bzimage_builder import (
    END,
    INIT_SIZE,
    LOAD_ADDRESS,
    OFFSET,
    PAYLOAD,
    bzimage,
    payload,
)
from .guest import guest_memory


def parsed(data: bytes | bytearray) -> BzImage:
    with open_image(bytes(data)) as image:
        return parse(image)


def refused(data: bytes | bytearray, message: str) -> None:
    with pytest.raises(ImageError, match=f"(?m){message}") as caught:
        parsed(data)
    assert "\n" not in caught.value.message + caught.value.hint
    assert caught.value.hint


def test_the_header_says_where_everything_is() -> None:
    compressed = payload("gzip")
    image = bzimage(compressed)
    kernel = parsed(image)
    assert kernel.setup_header == image[0x1F1:0x26C]
    assert image[kernel.offset :][: kernel.size] == image[OFFSET:]
    assert image[kernel.payload_offset :][: kernel.payload_size] == compressed
    assert (kernel.load_address, kernel.init_size, kernel.end) == (LOAD_ADDRESS, INIT_SIZE, END)
    assert kernel.entry == LOAD_ADDRESS + 0x200
    assert kernel.command_line_size == 2047
    assert kernel.initrd_limit == 0x80000000


def test_no_setup_sectors_mean_four() -> None:
    image = bzimage(setup_sects=0)
    assert parsed(image[:OFFSET] + bytes(5 * 512 - OFFSET) + image[OFFSET:]).offset == 5 * 512


def test_what_follows_the_code_such_as_a_signature_does_not_matter() -> None:
    image = bzimage()
    assert parsed(image + b"signature") == parsed(image)


def test_an_initrd_stays_below_the_mmio_hole() -> None:
    assert parsed(bzimage(initrd_addr_max=0xFFFFFFFF)).initrd_limit == 3 << 30


@pytest.mark.parametrize("version", [0x20C, 0x20D, 0x20F, 0x300])
def test_later_versions_of_the_protocol_are_spoken(version: int) -> None:
    assert parsed(bzimage(version=version)).bits == 64


def test_a_kernel_without_the_64_bit_entry_is_entered_in_32_bits_at_its_start() -> None:
    for fields in ({"xloadflags": 0x7E}, {"version": 0x20B}):  # the flag came with 2.12
        kernel = parsed(bzimage(**fields))
        assert (kernel.bits, kernel.entry) == (32, LOAD_ADDRESS)
        assert kernel.end == END
    assert parsed(bzimage(xloadflags=0x7E, syssize=1, payload_offset=0, payload_length=0))


def test_a_field_counts_from_the_version_that_brought_it() -> None:
    noise = {
        "initrd_addr_max": 1,
        "kernel_alignment": 3,
        "cmdline_size": 1,
        "payload_offset": 0xFFFFFFF0,
        "pref_address": 5,
        "init_size": 1,
    }
    size = len(bzimage()) - OFFSET
    for version, known in [
        (0x202, []),
        (0x203, ["initrd_addr_max"]),
        (0x205, ["initrd_addr_max"]),
        (0x206, ["initrd_addr_max", "cmdline_size"]),
        (0x207, ["initrd_addr_max", "cmdline_size"]),
    ]:
        kernel = parsed(bzimage(version=version, jump=0x2A, **noise))
        assert (kernel.bits, kernel.load_address, kernel.init_size) == (32, 0x100000, size)
        assert kernel.payload_size == 0
        assert kernel.initrd_limit == (2 if "initrd_addr_max" in known else 0x38000000)
        assert kernel.command_line_size == (1 if "cmdline_size" in known else 255)
        assert len(kernel.setup_header) == 0x22C - 0x1F1
    for version in (0x208, 0x209):
        kernel = parsed(bzimage(version=version))
        assert (kernel.load_address, kernel.init_size) == (0x100000, size)
        assert kernel.payload_size == len(payload("gzip"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"header": 0}, "is not a Linux kernel$"),
        ({"version": 0x201}, r"speaks version 2\.01 of Linux's boot protocol, ringlet 2\.02"),
        ({"version": 0}, r"speaks version 0\.00"),
        ({"xloadflags": 0x7E, "code32_start": 0}, "can be entered in 16-bit mode alone"),
        ({"version": 0x207, "code32_start": 0}, "can be entered in 16-bit mode alone"),
        ({"version": 0x207, "code32_start": 0x90000}, "at 0x90000 to 0x[0-9a-f]+, which is no"),
        ({"version": 0x207, "jump": 0x29}, "its setup header ends at 0x22b"),
        ({"version": 0x20A, "jump": 0x61}, "its setup header ends at 0x263"),
        ({"boot_flag": 0}, "its boot flag is 0x0"),
        ({"loadflags": 0xFE}, "it is to be loaded below 1 MiB"),
        ({"jump": 0x61}, "its setup header ends at 0x263"),
        ({"jump": 0x8F}, "its setup header ends at 0x291"),
        ({"syssize": 0}, "its code has 0x0 bytes"),
        ({"syssize": 0x20}, "its code has 0x200 bytes"),
        ({"syssize": 0xFFFF}, "is cut short|don't fit"),
        ({"syssize": 0xFFFFFFFF}, "don't fit into the"),
        ({"setup_sects": 255}, "is cut short"),
        ({"payload_offset": 0xFFFFFFFF}, "its payload, .* isn't in its"),
        ({"payload_length": 0xFFFFFFFF}, "its payload, .* isn't in its"),
        ({"kernel_alignment": 0}, "isn't aligned to 0x0"),
        ({"kernel_alignment": 0x300000}, "isn't aligned to 0x300000"),
        ({"kernel_alignment": 0x400000}, "isn't aligned to 0x400000"),
        ({"pref_address": 0}, "it is to lie at 0x0 to 0x100000, which is no memory"),
        ({"pref_address": 0xBFE00000, "init_size": 0x200001}, "which is no memory"),
        ({"pref_address": (1 << 64) - 0x200000}, "which is no memory"),
        ({"init_size": 0}, "which is no memory"),
        ({"init_size": 0x200}, "don't fit into the 0x200 it asks for"),
        ({"cmdline_size": 0}, "it has no room for a command line"),
    ],
)
def test_what_can_not_be_is_refused(fields: dict[str, int], message: str) -> None:
    refused(bzimage(**fields), message)


@pytest.mark.parametrize("missing", [1, 8, 15])
def test_a_code_that_ends_in_its_last_paragraph_is_padded_with_zeros(missing: int) -> None:
    compressed = payload("gzip")
    size = PAYLOAD + len(compressed)
    padding = bytes(-(size + missing) % 16)
    image = bzimage(compressed + padding, syssize=(size + len(padding) + missing) // 16)
    image = image[: OFFSET + size + len(padding)]
    assert len(image) % 16 == 16 - missing
    assert parsed(image).size == len(image) - OFFSET
    with open_kernel(bytes(image)) as kernel, guest_memory(8 << 20) as memory:
        kernel.load(memory, decompress=False)
        assert memory.read(LOAD_ADDRESS, len(image) + 64 - OFFSET) == image[OFFSET:] + bytes(64)
    refused(bzimage(syssize=(len(bzimage()) - OFFSET) // 16 + 1), "is cut short")  # by 16


def test_every_truncation_is_refused() -> None:
    image = bzimage()[: OFFSET + PAYLOAD + len(payload("gzip"))]  # without what may be missing
    for size in range(1, len(image)):
        refused(
            image[:size], "is cut short|its payload" if size >= 0x206 else "is not a Linux kernel"
        )
    assert parsed(image)
