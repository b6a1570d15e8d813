from collections.abc import Sequence
from pathlib import Path

import pytest

from ringlet.boot import Image, open_image
from ringlet.boot.multiboot_info import write_multiboot_info
from ringlet.errors import ConfigError
from ringlet.kvm.memory import GuestMemory

from .guest import guest_memory
from .multiboot_builder import read_information

KERNEL = [(0x100000, 0x100040)]


def write(
    memory: GuestMemory, line: bytes = b"", modules: Sequence[tuple[Image, bytes]] = ()
) -> None:
    with open_image(b"kernel") as image:
        write_multiboot_info(memory, KERNEL, (image, line), modules)


def test_flags_say_what_is_there() -> None:
    with guest_memory(64 << 20) as memory:
        write(memory, b"one two")
        information = read_information(memory)
        # Memory, command line, modules, memory map, loader's name.
        assert information.flags == 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9
        assert information.boot_device == 0
        assert information.command_line == b"<bytes> one two"
        assert information.modules == []
        assert information.loader == b"ringlet"


LOW = (0, 0x9FC00, 1)
FIRMWARE = (0x9FC00, 0x60400, 2)


@pytest.mark.parametrize(
    ("size", "upper", "high"),
    [
        (1 << 20, 0, []),
        (64 << 20, 63 << 10, [(1 << 20, 63 << 20, 1)]),
        (3 << 30, 3071 << 10, [(1 << 20, 3071 << 20, 1)]),
        (5 << 30, 3071 << 10, [(1 << 20, 3071 << 20, 1), (4 << 30, 2 << 30, 1)]),
    ],
)
def test_the_memory_is_that_of_a_pc(
    size: int, upper: int, high: list[tuple[int, int, int]]
) -> None:
    with guest_memory(size) as memory:
        write(memory)
        information = read_information(memory)
        assert (information.mem_lower, information.mem_upper) == (639, upper)
        assert information.memory_map == [LOW, FIRMWARE, *high]


def test_strings_are_the_files_name_as_one_word_and_what_the_user_wrote(tmp_path: Path) -> None:
    kernel, initrd, module = (tmp_path / name for name in ("my kernel", "initrd.gz", "Größe"))
    kernel.write_bytes(b"kernel")
    initrd.write_bytes(b"first" * 1000)
    module.write_bytes(b"second")
    with (
        open_image(kernel) as image,
        open_image(initrd) as first,
        open_image(module) as second,
        guest_memory(4 << 20) as memory,
    ):
        modules = [(first, b""), (second, b"a b")]
        write_multiboot_info(memory, KERNEL, (image, b"console=x  quiet"), modules)
        information = read_information(memory)
        assert information.command_line == b"my_kernel console=x  quiet"
        assert information.modules == [
            (0x3FE000, 0x3FE000 + 5000, b"initrd.gz"),
            (0x3FD000, 0x3FD006, "Größe a b".encode()),
        ]
        assert memory.read(0x3FE000, 5000) == b"first" * 1000
        assert memory.read(0x3FD000, 6) == b"second"


def test_as_many_modules_as_the_page_holds_and_no_more() -> None:
    most = (4096 - 116 - 3 * 24 - len(b"ringlet\0")) // 16
    with open_image(b"x") as module, guest_memory(4 << 20) as memory:
        write(memory, b"line", [(module, b"")] * most)
        information = read_information(memory)
        assert len(information.modules) == most
        assert information.command_line == b"<bytes> line"
        with pytest.raises(ConfigError, match=f"{most + 1} modules are too many, {most} fit"):
            write(memory, b"", [(module, b"")] * (most + 1))


def test_strings_fill_their_page_and_no_more() -> None:
    with open_image(b"x") as module, guest_memory(4 << 20) as memory:
        write(memory, b"k" * 3000, [(module, b"m" * 1078)])
        information = read_information(memory)
        assert information.command_line == b"<bytes> " + b"k" * 3000
        assert information.modules[0][2] == b"<bytes> " + b"m" * 1078
        with pytest.raises(ConfigError, match="take 4097 bytes, 4096 fit"):
            write(memory, b"k" * 3000, [(module, b"m" * 1079)])
        with pytest.raises(ConfigError, match="NUL"):
            write(memory, b"a\0b")
