from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.board import layout
from ringlet.board.bus import PortBus, Unclaimed
from ringlet.devices.exit_port import ExitPort

PAGE = 4096


def test_what_ringlet_writes_for_the_guest_does_not_overlap() -> None:
    ranges = sorted(
        [
            (layout.GDT, layout.START_INFO - layout.GDT),
            (layout.START_INFO, layout.START_INFO_SIZE),
            (layout.COMMAND_LINE, layout.COMMAND_LINE_SIZE),
            (layout.PAGE_TABLES, 6 * PAGE),  # PML4, page directory pointers, four directories
        ]
    )
    for (below, size), (above, _) in pairwise(ranges):
        assert below + size <= above
    assert ranges[0][0] == layout.BOOT_DATA
    assert sum(ranges[-1]) <= layout.BOOT_DATA_END <= layout.LOW_RAM_END


def test_the_stack_grows_away_from_what_ringlet_writes() -> None:
    assert 0 < layout.STACK_TOP <= layout.BOOT_DATA


def test_page_tables_and_gdt_are_on_pages() -> None:
    for address in (layout.PAGE_TABLES, layout.GDT, layout.START_INFO, layout.COMMAND_LINE):
        assert address % PAGE == 0


def test_what_kvm_needs_lies_in_the_hole_of_every_memory() -> None:
    for address, size in (layout.IO_APIC, layout.LOCAL_APIC, layout.KVM_PAGES):
        assert address >= layout.MMIO_HOLE
        assert address + size <= layout.MMIO_HOLE_END
    first, size = layout.KVM_PAGES
    assert first <= layout.IDENTITY_MAP
    assert layout.IDENTITY_MAP + PAGE <= layout.TSS
    assert first + size >= layout.TSS + 3 * PAGE


def test_the_devices_places_can_all_be_had_at_once() -> None:
    ports = PortBus(Unclaimed(), layout.PIC_PORTS + layout.PIT_PORTS)
    for first, count in (
        (layout.COM1_PORT, layout.UART_PORTS),
        (layout.EXIT_PORT, 1),
        (layout.KEYBOARD_CONTROLLER_PORT, 1),
    ):
        ports.add(first, count, ExitPort(lambda status: None))


@pytest.mark.parametrize(
    ("size", "ranges"),
    [
        (PAGE, [(0, PAGE)]),
        (64 * layout.MIB, [(0, 64 * layout.MIB)]),
        (3 * layout.GIB, [(0, 3 * layout.GIB)]),
        (3 * layout.GIB + PAGE, [(0, 3 * layout.GIB), (4 * layout.GIB, PAGE)]),
        (8 * layout.GIB, [(0, 3 * layout.GIB), (4 * layout.GIB, 5 * layout.GIB)]),
    ],
)
def test_ram_goes_on_beyond_the_hole(size: int, ranges: list[tuple[int, int]]) -> None:
    assert layout.ram_ranges(size) == ranges


@given(st.integers(1, 1 << 40))
def test_ram_is_all_there_and_never_in_the_hole(size: int) -> None:
    ranges = layout.ram_ranges(size)
    assert sum(length for _, length in ranges) == size
    assert ranges[0][0] == 0
    for address, length in ranges:
        assert length > 0
        assert address + length <= layout.MMIO_HOLE or address >= layout.MMIO_HOLE_END
