import re
from contextlib import ExitStack

import pytest

from ringlet.board import layout
from ringlet.boot.image import Image, open_image
from ringlet.boot.start_info import write_start_info
from ringlet.errors import ConfigError

from .guest import guest_memory, number, read_start_info, written_outside

KERNEL = [(0x100000, 0x101000)]


def refused(
    message: str,
    command_line: bytes = b"",
    modules: list[tuple[Image, bytes]] | None = None,
    kernel: list[tuple[int, int]] = KERNEL,
) -> None:
    with (
        guest_memory(4 << 20) as memory,
        pytest.raises(ConfigError, match=re.escape(message)) as caught,
    ):
        write_start_info(memory, kernel, command_line, modules or [])
    assert "\n" not in caught.value.message + caught.value.hint


def test_it_has_magic_version_and_command_line() -> None:
    with guest_memory(4 << 20) as memory:
        write_start_info(memory, KERNEL, b"console=ttyS0 quiet", [])
        info = read_start_info(memory)
        assert info[:5] == (0x336EC578, 1, 0, layout.RSDP, 0)
        assert info.command_line == b"console=ttyS0 quiet"
        assert info.modules == []
        boot_data = layout.BOOT_DATA_END - layout.BOOT_DATA
        assert not written_outside(memory, [(layout.BOOT_DATA, boot_data)])


def test_it_names_no_acpi_tables_where_they_would_lie_outside_the_memory() -> None:
    with guest_memory(0xA0000) as memory:
        write_start_info(memory, [], b"", [])
        assert read_start_info(memory).rsdp == 0


def test_no_command_line_is_an_empty_one() -> None:
    with guest_memory(4 << 20) as memory:
        write_start_info(memory, KERNEL, b"", [])
        assert number(memory, layout.START_INFO + 24, 8) == layout.COMMAND_LINE
        assert read_start_info(memory).command_line == b""


LOW = (0, 0x9FC00, 1)
FIRMWARE = (0x9FC00, 0x60400, 2)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0xF000, [(0, 0xF000, 1), FIRMWARE]),
        (0xA0000, [LOW, FIRMWARE]),
        (1 << 20, [LOW, FIRMWARE]),
        (64 << 20, [LOW, FIRMWARE, (1 << 20, 63 << 20, 1)]),
        (3 << 30, [LOW, FIRMWARE, (1 << 20, (3 << 30) - (1 << 20), 1)]),
        (5 << 30, [LOW, FIRMWARE, (1 << 20, (3 << 30) - (1 << 20), 1), (4 << 30, 2 << 30, 1)]),
    ],
)
def test_the_memory_map_is_that_of_a_pc(size: int, expected: list[tuple[int, int, int]]) -> None:
    with guest_memory(size) as memory:
        write_start_info(memory, [], b"", [])
        assert read_start_info(memory).memory_map == expected


def test_modules_lie_page_aligned_at_the_end_of_ram_with_their_command_lines() -> None:
    contents = [b"first" * 1000, b"second", b"x" * 4096]
    with ExitStack() as stack:
        memory = stack.enter_context(guest_memory(4 << 20))
        modules = [
            (stack.enter_context(open_image(data)), b"line %d" % index)
            for index, data in enumerate(contents)
        ]
        write_start_info(memory, KERNEL, b"kernel", modules)
        info = read_start_info(memory)
        assert info.command_line == b"kernel"
        assert info.modules == [
            (0x3FE000, 5000, b"line 0"),
            (0x3FD000, 6, b"line 1"),
            (0x3FC000, 4096, b"line 2"),
        ]
        for (address, size, _), data in zip(info.modules, contents, strict=True):
            assert memory.read(address, size) == data


def test_modules_lie_below_the_mmio_hole_however_large_the_memory() -> None:
    with guest_memory(5 << 30) as memory, open_image(b"module") as module:
        write_start_info(memory, KERNEL, b"", [(module, b"")])
        assert read_start_info(memory).modules == [(0xBFFFF000, 6, b"")]


def test_modules_go_around_the_kernels_segments() -> None:
    places = [(0x100000, 0x1000), (0x3FA800, 0x800), (0x3FB800, 0x100), (0x3FD000, 0x1000)]
    kernel = [(address, address + size) for address, size in places]
    with guest_memory(4 << 20) as memory, open_image(bytes(0x1800)) as module:
        write_start_info(memory, kernel, b"", [(module, b"")] * 3)
        addresses = [address for address, _, _ in read_start_info(memory).modules]
        assert addresses == [0x3FE000, 0x3F9000, 0x3F7000]


def test_a_module_that_does_not_fit_is_refused_with_the_numbers() -> None:
    with open_image(bytes(0x300000)) as module:
        refused("<bytes>, 3145728 bytes, doesn't fit", modules=[(module, b"")])
        refused("of 4194304 bytes", modules=[(module, b"")])
    with open_image(bytes(0x2FF000)) as module, guest_memory(4 << 20) as memory:
        write_start_info(memory, KERNEL, b"", [(module, b"")])
        assert read_start_info(memory).modules[0][0] == 0x101000


def test_a_module_is_never_put_below_1_mib() -> None:
    with open_image(b"x") as module:
        refused("doesn't fit", modules=[(module, b"")], kernel=[(0x100000, 4 << 20)])


def test_a_module_larger_than_memory_is_refused() -> None:
    with open_image(bytes(5 << 20)) as module:
        refused("doesn't fit", modules=[(module, b"")])


def test_as_many_modules_as_the_page_holds_and_no_more() -> None:
    most = (4096 - 56 - 3 * 24) // 32
    with open_image(b"x") as module, guest_memory(4 << 20) as memory:
        write_start_info(memory, KERNEL, b"cmdline", [(module, b"")] * most)
        info = read_start_info(memory)
        assert len(info.modules) == most
        assert info.command_line == b"cmdline"
        refused(
            f"{most + 1} modules are too many, {most} fit", modules=[(module, b"")] * (most + 1)
        )


def test_command_lines_fill_their_page_and_no_more() -> None:
    with open_image(b"x") as module, guest_memory(4 << 20) as memory:
        write_start_info(memory, KERNEL, b"k" * 3000, [(module, b"m" * 1094)])
        info = read_start_info(memory)
        assert info.command_line == b"k" * 3000
        assert info.modules[0][2] == b"m" * 1094
        refused("take 4097 bytes, 4096 fit", b"k" * 3000, [(module, b"m" * 1095)])
    refused("take 4097 bytes, 4096 fit", b"k" * 4096)


def test_a_nul_byte_in_a_command_line_is_refused() -> None:
    refused("a command line has a NUL byte in it", b"a\0b")
    with open_image(b"x") as module:
        refused("a command line has a NUL byte in it", b"", [(module, b"\0")])
