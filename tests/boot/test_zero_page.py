from ringlet.board import layout
from ringlet.boot.bzimage import SETUP_HEADER, SETUP_HEADER_END
from ringlet.boot.zero_page import setup_header, write_zero_page

from .bzimage_builder import FIELDS
from .guest import guest_memory, number, string, written_outside


def test_a_setup_header_from_scratch_says_what_a_kernel_looks_for() -> None:
    header = setup_header()
    page = bytes(SETUP_HEADER) + header.ljust(SETUP_HEADER_END - SETUP_HEADER, b"\0")
    assert FIELDS["boot_flag"].get(page) == 0xAA55
    assert FIELDS["header"].get(page) == int.from_bytes(b"HdrS", "little")
    assert FIELDS["version"].get(page) == 0x20C
    assert FIELDS["loadflags"].get(page) == 1
    assert FIELDS["kernel_alignment"].get(page) == 0x1000000


def test_the_longest_setup_header_leaves_the_memory_map_alone() -> None:
    header = b"\xff" * (SETUP_HEADER_END - SETUP_HEADER)
    with guest_memory(2 << 20) as memory:
        write_zero_page(memory, header, b"line", (0x123000, 0x456))
        page = memory.read(layout.ZERO_PAGE, 4096)
        assert FIELDS["type_of_loader"].get(page) == 0xFF
        assert FIELDS["ramdisk_image"].get(page) == 0x123000
        assert FIELDS["ramdisk_size"].get(page) == 0x456
        assert string(memory, FIELDS["cmd_line_ptr"].get(page)) == b"line"
        assert number(memory, layout.ZERO_PAGE + 0x1E8, 1) == 3
        assert number(memory, layout.ZERO_PAGE + 0x2D0 + 8, 8) == layout.LOW_RAM_END


def test_nothing_is_written_but_the_page_the_command_line_and_the_seed() -> None:
    with guest_memory(2 << 20) as memory:
        write_zero_page(memory, setup_header(), b"line", (0, 0))
        seed = (layout.SETUP_DATA, 16 + 32)
        pages = [(layout.ZERO_PAGE, 4096), (layout.COMMAND_LINE, 5), seed]
        assert not written_outside(memory, pages)
