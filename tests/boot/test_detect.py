from pathlib import Path

import pytest

from ringlet.boot import open_image, open_kernel
from ringlet.boot.detect import Looks, detect
from ringlet.errors import ImageError

from .bzimage_builder import LINUX_NOTE, VMLINUX, bzimage
from .elf_builder import Part, build, note, notes, pvh_note
from .multiboot_builder import flat, header

CODE = Part(0x100000, b"\xf4" * 64)
BOOT_SECTOR = bytes(510) + b"\x55\xaa"


def detected(data: bytes | bytearray) -> str:
    with open_kernel(bytes(data)) as kernel:
        return kernel.protocol


def refused(data: bytes | bytearray, message: str) -> None:
    with pytest.raises(ImageError, match=f"(?m){message}") as caught:
        detected(data)
    assert "\n" not in caught.value.message + caught.value.hint
    assert caught.value.hint


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("size", [4, 8])
def test_an_elf_with_the_note_is_pvh(bits: int, size: int) -> None:
    assert detected(build(bits, [CODE, pvh_note(0x100000, size)])) == "pvh"


def test_a_64_bit_elf_with_a_note_of_linux_is_linux() -> None:
    assert detected(VMLINUX) == "linux"
    both = notes(pvh_note(0x100000).data + LINUX_NOTE.data)
    assert detected(build(64, [CODE, both])) == "linux"
    assert detected(build(32, [CODE, both])) == "pvh"


def test_a_64_bit_elf_without_the_note_is_elf64() -> None:
    assert detected(build(64, [CODE])) == "elf64"
    assert detected(build(64, [CODE, notes(note(b"1234", kind=17))])) == "elf64"


def test_a_boot_signature_is_flat() -> None:
    assert detected(BOOT_SECTOR) == "flat"
    assert detected(BOOT_SECTOR + b"more") == "flat"


@pytest.mark.parametrize("data", [b"\xf4", b"text", bytes(1000)])
def test_the_name_bin_is_flat_whatever_is_in_it(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "guest.bin"
    path.write_bytes(data)
    with open_kernel(path) as kernel:
        assert kernel.protocol == "flat"


def test_an_elf_is_an_elf_whatever_its_name_and_boot_signature(tmp_path: Path) -> None:
    path = tmp_path / "guest.bin"
    path.write_bytes(build(64, [Part(0x100000, bytes(1000))]))
    with path.open("r+b") as file:
        file.seek(510)
        file.write(b"\x55\xaa")
    with open_kernel(path) as kernel:
        assert kernel.protocol == "elf64"


def test_a_bzimage_is_linux_though_it_has_a_boot_signature(tmp_path: Path) -> None:
    path = tmp_path / "vmlinuz.bin"
    path.write_bytes(bzimage())
    with open_kernel(path) as kernel:
        assert kernel.protocol == "linux"
    broken = BOOT_SECTOR + bytes(2) + b"HdrS"
    refused(broken, "^<bytes> is cut short: it has 518 bytes, but refers to bytes 0x0 to 0x290$")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"#!/bin/sh\necho hello\n", "text"),
        ("Grüße\n".encode() * 100, "text"),
        (b"\x1f\x8b\x08" + bytes(100), "gzip-compressed data"),
        (b"\xfd7zXZ\0" + bytes(100), "xz-compressed data"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "zstd-compressed data"),
        (b"BZh91AY", "bzip2-compressed data"),
        (b"070701" + b"0" * 100, "a cpio archive"),
        (b"QFI\xfb" + bytes(100), "a qcow2 disk image"),
        (b"MZ\x90\0" + bytes(100), "a DOS, Windows or EFI program"),
        (bytes(1000), "nothing that ringlet can boot"),
        (b"\xf4", "text"),
        (b"\xfa\xf4\0", "nothing that ringlet can boot"),
    ],
)
def test_an_unknown_file_is_not_code_to_run(data: bytes, what: str) -> None:
    refused(data, f"is no kernel: it looks like {what}$")


def test_an_elf_that_cannot_be_booted_is_refused_by_what_it_is() -> None:
    refused(build(64, [CODE], machine=183), "is a 64-bit ELF for AArch64")
    refused(build(64, [CODE], kind=3), "is a shared object")
    refused(build(32, [CODE]), "is a 32-bit ELF with no PVH note and no Multiboot header$")
    refused(b"\x7fELF", "is cut short")


def test_a_multiboot_header_is_multiboot_unless_there_is_a_note() -> None:
    multiboot = Part(0x100000, header())
    assert detected(build(32, [multiboot])) == "multiboot"
    refused(build(64, [multiboot]), "is a 64-bit ELF; Multiboot takes one only by address fields$")
    assert detected(flat() + BOOT_SECTOR[len(flat()) :]) == "multiboot"
    refused(header() + BOOT_SECTOR[len(header()) :], "is not an ELF$")
    assert detected(build(32, [multiboot, pvh_note(0x100000)])) == "pvh"
    assert detected(build(64, [multiboot, LINUX_NOTE])) == "linux"
    refused(build(32, [Part(0x100000, b"\0" + header())]), "no Multiboot header$")  # not aligned


@pytest.mark.parametrize(
    ("data", "looks"),
    [
        (build(64, [CODE, pvh_note(0x100000)]), "elf+ elf- linux- pvh+"),
        (VMLINUX, "elf+ elf- linux+"),
        (build(64, [CODE]), "elf+ elf- linux- pvh- multiboot- elf64+"),
        (build(32, [Part(0x100000, header())], kind=3), "elf+ elf+ multiboot+"),
        (flat(), "elf- multiboot+"),
        (bzimage(), "elf- multiboot- linux+"),
        (BOOT_SECTOR, "elf- multiboot- linux- flat- flat+"),
    ],
)
def test_each_look_is_noted_in_order_and_the_last_one_decides(data: bytes, looks: str) -> None:
    noted = Looks()
    with detect(open_image(bytes(data)), noted) as kernel:
        assert kernel.protocol == noted[-1].protocol
    assert " ".join(look.protocol + "-+"[look.has] for look in noted) == looks


def test_the_looks_before_a_refusal_are_noted_too() -> None:
    for data, looks in (
        (b"text", "elf- multiboot- linux- flat- flat-"),
        (build(64, [CODE], kind=3), "elf+ elf+ multiboot-"),
        (build(32, [CODE]), "elf+ elf- linux- pvh- multiboot- elf64-"),
        (build(64, [CODE], machine=183), "elf+"),
        (BOOT_SECTOR + bytes(2) + b"HdrS", "elf- multiboot- linux+"),
    ):
        noted = Looks()
        with open_image(bytes(data)) as image, pytest.raises(ImageError):
            detect(image, noted)
        assert " ".join(look.protocol + "-+"[look.has] for look in noted) == looks
