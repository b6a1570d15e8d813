"""What a kernel says of the machine that it expects, and what it owns."""

from pathlib import Path

import pytest

from ringlet.boot import DEFAULT_MEMORY, Kernel, open_image, open_kernel
from ringlet.errors import ConfigError, ImageError

from .bzimage_builder import LINUX_NOTE, LOAD_ADDRESS, VMLINUX, bzimage
from .elf_builder import Part, build, notes, pvh_note
from .guest import guest_memory
from .multiboot_builder import header

CODE = Part(0x100000, b"\xf4" * 64)
PVH = bytes(build(64, [CODE, pvh_note(0x100000)]))
LINUX_BY_PVH = bytes(build(64, [CODE, notes(pvh_note(0x100000).data + LINUX_NOTE.data)]))
LINUX_MEMORY = 256 << 20


def traits(kernel: Kernel) -> tuple[bool, bool, int, bool, bool]:
    return (
        kernel.is_linux,
        kernel.expects_pit,
        kernel.usual_memory,
        kernel.acpi_tables,
        kernel.device_words,
    )


@pytest.mark.parametrize(
    ("image", "protocol", "expected"),
    [
        (bytes(510) + b"\x55\xaa", "flat", (False, False, DEFAULT_MEMORY, False, False)),
        (PVH, "pvh", (False, False, DEFAULT_MEMORY, True, True)),
        (bytes(build(64, [CODE])), "elf64", (False, False, DEFAULT_MEMORY, True, True)),
        (
            bytes(build(32, [Part(0x100000, header())])),
            "multiboot",
            (False, True, DEFAULT_MEMORY, True, True),
        ),
        (bytes(bzimage()), "linux", (True, True, LINUX_MEMORY, True, False)),
        (VMLINUX, "linux", (True, True, LINUX_MEMORY, True, False)),
    ],
    ids=["flat", "pvh", "elf64", "multiboot", "bzimage", "vmlinux"],
)
def test_a_kernel_says_what_machine_it_expects(
    image: bytes, protocol: str, expected: tuple[bool, bool, int, bool, bool]
) -> None:
    for wish in (None, protocol):
        with open_kernel(image, wish) as kernel:
            assert (kernel.name, kernel.protocol) == ("<bytes>", protocol)
            assert traits(kernel) == expected


def test_linux_expects_the_same_whether_it_is_entered_by_pvh_or_by_its_own_protocol() -> None:
    with open_kernel(LINUX_BY_PVH) as kernel, open_kernel(LINUX_BY_PVH, "pvh") as by_pvh:
        assert (kernel.protocol, by_pvh.protocol) == ("linux", "pvh")
        assert traits(kernel) == traits(by_pvh) == (True, True, LINUX_MEMORY, True, False)


def test_an_image_without_linuxs_note_may_be_entered_as_linux() -> None:
    with open_kernel(bytes(build(64, [CODE])), "linux") as kernel:
        assert kernel.is_linux


@pytest.mark.parametrize("image", [PVH, VMLINUX, bytes(bzimage())], ids=["pvh", "vmlinux", "bz"])
def test_an_image_is_parsed_once_when_it_is_opened(tmp_path: Path, image: bytes) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(image)
    with open_kernel(path) as kernel, guest_memory(8 << 20) as memory:
        with path.open("r+b") as file:
            file.write(bytes(64) if image.startswith(b"\x7fELF") else bytes(0x290))
        entry = kernel.load(memory, decompress=False)
        assert entry.registers.rip in (0x100000, LOAD_ADDRESS + 0x10, LOAD_ADDRESS + 0x200)


def test_an_image_is_closed_with_its_kernel_and_where_it_is_none(no_leak: None) -> None:
    with open_kernel(PVH):
        pass
    for image, protocol in (
        (b"text", None),
        (b"text", "pvh"),
        (b"text", "linux"),
        (PVH[:70], None),
    ):
        with pytest.raises(ImageError):
            open_kernel(image, protocol)
    with pytest.raises(ConfigError):
        open_kernel(PVH, "multiboot2")


def test_a_kernel_can_be_loaded_more_than_once() -> None:
    with open_kernel(PVH) as kernel, open_image(b"module") as module:
        for _ in range(2):
            with guest_memory(4 << 20) as memory:
                kernel.load(memory, modules=[(module, b"")])
                assert memory.read(0x100000, 64) == CODE.data
