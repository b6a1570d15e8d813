import pytest

from ringlet.boot import open_kernel
from ringlet.boot.linux import BzImageKernel
from ringlet.observe.inspection.linux_image import Header, header_facts, header_version, version_of

from ...boot.bzimage_builder import (
    END,
    INIT_SIZE,
    LINUX_NOTE,
    LOAD_ADDRESS,
    VMLINUX,
    bzimage,
    payload,
)
from ...boot.elf_builder import Field, Part, build

KERNEL_VERSION = Field(0x20E, 2)


def header(image: bytes | bytearray, error: str | None = None) -> Header:
    with open_kernel(bytes(image)) as kernel:
        assert isinstance(kernel, BzImageKernel)
        return header_facts(kernel.image, kernel.header, error)


def test_the_header_is_spelled_out() -> None:
    facts = header(bzimage())
    assert facts.boot_protocol == "2.15"
    assert facts.xloadflags == [
        *("XLF_KERNEL_64", "XLF_CAN_BE_LOADED_ABOVE_4G", "XLF_EFI_HANDOVER_32"),
        *("XLF_EFI_HANDOVER_64", "XLF_EFI_KEXEC", "XLF_5LEVEL", "XLF_5LEVEL_ENABLED"),
    ]
    assert facts.relocatable
    assert (facts.pref_address, facts.init_size) == (LOAD_ADDRESS, INIT_SIZE)
    assert LOAD_ADDRESS + INIT_SIZE == END
    assert (facts.entry, facts.entry_bits) == (LOAD_ADDRESS + 0x200, 64)
    assert (facts.command_line_size, facts.initrd_limit) == (2047, 0x80000000)


def test_an_unknown_flag_is_shown_as_a_number() -> None:
    assert header(bzimage(xloadflags=0x101)).xloadflags == ["XLF_KERNEL_64", "0x100"]
    assert header(bzimage(xloadflags=0)).xloadflags == []


def test_a_field_that_the_version_does_not_have_is_not_shown() -> None:
    old = header(bzimage(version=0x204, initrd_addr_max=0x37FFFFFF))
    assert (old.boot_protocol, old.xloadflags, old.relocatable) == ("2.04", [], False)
    assert (old.alignment, old.entry_bits) == (0, 32)


@pytest.mark.parametrize("name", ["gzip", "xz", "lzma", "bzip2", "zstd", "lz4"])
def test_the_payload_says_its_format_and_what_it_becomes(name: str) -> None:
    facts = header(bzimage(payload(name))).payload
    assert (facts.compression, facts.size) == (name, len(payload(name)))
    assert (facts.becomes, facts.error) == (len(VMLINUX), None)


def test_a_payload_that_is_missing_becomes_nothing() -> None:
    facts = header(bzimage(payload_length=0), "it has no payload").payload
    assert (facts.size, facts.becomes, facts.error) == (0, 0, "it has no payload")


def test_the_version_is_the_text_that_the_header_points_to() -> None:
    image = bzimage()
    KERNEL_VERSION.put(image, 0x100)
    image[0x300:0x310] = b"6.1.0 (me) \x1b[2J\0"
    with open_kernel(bytes(image)) as kernel:
        assert header_version(kernel.image) == "6.1.0 (me) \ufffd[2J"


@pytest.mark.parametrize("pointer", [0, 0xFFFF])
def test_a_version_that_points_nowhere_is_none(pointer: int) -> None:
    image = bzimage()
    KERNEL_VERSION.put(image, pointer)
    assert len(image) < 0x200 + 0xFFFF
    with open_kernel(bytes(image)) as kernel:
        assert header_version(kernel.image) == ""


def test_a_vmlinux_says_its_version_in_its_banner() -> None:
    banner = b"\0Linux version 6.1.0 (me) #1 SMP\n\0more"
    image = build(64, [Part(LOAD_ADDRESS, banner), LINUX_NOTE], entry=LOAD_ADDRESS)
    with open_kernel(bytes(image)) as kernel:
        assert version_of(kernel) == "6.1.0 (me) #1 SMP"
    with open_kernel(VMLINUX) as kernel:
        assert version_of(kernel) == ""
