import ctypes
import errno
import mmap
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.kvm.memory import HUGE_PAGE, GuestMemory, GuestMemoryError, anonymous

PAGE = mmap.PAGESIZE
# (address, pages): two that touch, then a hole, then the last page there is.
SHAPE = [(0, 2), (2 * PAGE, 1), (16 * PAGE, 3), ((1 << 64) - PAGE, 1)]
BORDERS = [address + pages * PAGE * end for address, pages in SHAPE for end in (0, 1)]

ADDRESSES = st.one_of(
    st.builds(int.__add__, st.sampled_from(BORDERS), st.integers(-3, 3)),
    st.integers(0, 20 * PAGE),
    st.integers(-(1 << 65), 1 << 65),
)
SIZES = st.one_of(
    st.integers(-2, 5),
    st.builds(int.__add__, st.sampled_from([PAGE, 2 * PAGE, 3 * PAGE]), st.integers(-3, 3)),
    st.builds(int.__sub__, st.just(1 << 64), st.integers(0, 20 * PAGE)),
    st.integers(-(1 << 65), 1 << 65),
)


def new_memory() -> GuestMemory:
    return GuestMemory([anonymous(address, pages * PAGE) for address, pages in SHAPE])


def lies_in_one_region(address: int, size: int) -> bool:
    """Byte by byte for what is small, by sets of pages for the rest."""
    return size >= 0 and any(
        address in range(start, start + pages * PAGE + 1)
        and address + size in range(address, start + pages * PAGE + 1)
        for start, pages in SHAPE
    )


@given(ADDRESSES, SIZES)
def test_a_range_is_given_out_exactly_when_it_lies_in_one_region(address: int, size: int) -> None:
    with new_memory() as memory:
        assert memory.has(address, size) == lies_in_one_region(address, size)
    with new_memory() as memory:
        if lies_in_one_region(address, size):
            with memory.view(address, size) as view:
                assert len(view) == size
                assert not view.readonly
            assert memory.read(address, size) == bytes(size)
        else:
            for access in (memory.view, memory.read):
                with pytest.raises(GuestMemoryError) as caught:
                    access(address, size)
                assert "\n" not in caught.value.message + caught.value.hint


@given(st.lists(st.tuples(ADDRESSES, st.binary(max_size=40)), max_size=20))
def test_writes_land_where_a_plain_table_of_bytes_has_them(writes: list[tuple[int, bytes]]) -> None:
    table: dict[int, int] = {}
    with new_memory() as memory:
        for address, data in writes:
            if lies_in_one_region(address, len(data)):
                memory.write(address, data)
                table.update(zip(range(address, address + len(data)), data, strict=True))
            else:
                with pytest.raises(GuestMemoryError):
                    memory.write(address, data)
        for region in memory.regions:
            data = memory.read(region.address, region.size)
            for at, byte in enumerate(data):
                if byte or region.address + at in table:
                    assert table[region.address + at] == byte


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 4)), min_size=1, max_size=5))
def test_regions_that_overlap_are_refused(shape: list[tuple[int, int]]) -> None:
    pages = [page for start, count in shape for page in range(start, start + count)]
    regions = [anonymous(start * PAGE, count * PAGE) for start, count in shape]
    try:
        memory = GuestMemory(regions)
    except GuestMemoryError:
        assert len(pages) != len(set(pages))
    else:
        assert len(pages) == len(set(pages))
        assert memory.size == len(pages) * PAGE
        assert [r.address for r in memory.regions] == sorted(r.address for r in regions)
    for region in regions:
        region.close()


@pytest.mark.parametrize("address", [1, PAGE - 1, -PAGE, -1, 1 << 64, (1 << 64) - PAGE + 1])
def test_a_region_at_no_pages_address_is_refused(address: int) -> None:
    with pytest.raises(GuestMemoryError):
        anonymous(address, PAGE)


def test_a_region_of_a_part_of_a_page_is_refused() -> None:
    with pytest.raises(GuestMemoryError):
        anonymous(0, PAGE + 1)


def test_a_region_that_wraps_around_is_refused() -> None:
    with pytest.raises(GuestMemoryError):
        anonymous((1 << 64) - PAGE, 2 * PAGE)


def test_more_than_the_host_can_map_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ENOMEM)):
        anonymous(0, 1 << 50)


def test_fresh_memory_is_zero_and_takes_up_nothing() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE

    before = resident()
    with GuestMemory([anonymous(0, 1 << 30)]) as memory:
        assert memory.read((1 << 30) - 16, 16) == bytes(16)
        assert resident() - before < 16 << 20


def test_a_view_is_the_memory_itself() -> None:
    with new_memory() as memory:
        with memory.view(PAGE - 1, 2) as view:
            view[:] = b"ab"
        assert memory.read(PAGE - 2, 4) == b"\0ab\0"


def test_a_region_stays_while_a_view_of_it_lives() -> None:
    memory = new_memory()
    view = memory.view(0, 4)
    for _ in range(2):
        with pytest.raises(BufferError):
            memory.close()
    memory.write(0, b"here")
    assert bytes(view) == b"here"
    view.release()
    memory.close()
    memory.close()


def test_one_that_was_never_closed_is_harmless_to_the_garbage_collector() -> None:
    program = (
        "import gc\n"
        "from ringlet.kvm.memory import GuestMemory, anonymous\n"
        "for _ in range(50):\n"
        "    memory = GuestMemory([anonymous(0, 1 << 20)])\n"
        "    memory.native\n"
        "    cycle = [memory, memory.regions[0].view]\n"
        "    cycle.append(cycle)\n"
        "    del memory, cycle\n"
        "    gc.collect()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_close_gives_the_memory_back(held: Any) -> None:
    before = held()
    for _ in range(100):
        with GuestMemory([anonymous(0, 16 << 20)]) as memory:
            memory.write(0, b"x")
    assert held().mapped - before.mapped < 64 << 20


# load


def open_file(tmp_path: Path, data: bytes) -> int:
    path = tmp_path / "file"
    path.write_bytes(data)
    return os.open(path, os.O_RDONLY)


def test_load_puts_a_part_of_a_file_into_the_guest(tmp_path: Path) -> None:
    data = bytes(range(256)) * 64
    fd = open_file(tmp_path, data)
    with new_memory() as memory:
        memory.load(fd, 100, 10, 2 * PAGE - 20)
        assert memory.read(0, 2 * PAGE) == bytes(10) + data[100 : 2 * PAGE + 80] + bytes(10)
    os.close(fd)


def test_load_of_nothing_does_nothing(tmp_path: Path) -> None:
    fd = open_file(tmp_path, b"")
    with new_memory() as memory:
        memory.load(fd, 0, 0, 0)
    os.close(fd)


@pytest.mark.parametrize(("offset", "size"), [(0, 11), (1, 10), (10, 1), (1 << 40, 1)])
def test_load_of_a_file_that_ends_before_says_so(tmp_path: Path, offset: int, size: int) -> None:
    fd = open_file(tmp_path, b"0123456789")
    with new_memory() as memory, pytest.raises(EOFError):
        memory.load(fd, offset, 0, size)
    os.close(fd)


@given(ADDRESSES, SIZES)
def test_load_checks_the_range_before_it_reads(address: int, size: int) -> None:
    fd = os.memfd_create("file")
    with new_memory() as memory:
        if not lies_in_one_region(address, size):
            with pytest.raises(GuestMemoryError):
                memory.load(fd, 0, address, size)
        elif size > 0:
            with pytest.raises(EOFError):
                memory.load(fd, 0, address, size)
    os.close(fd)


def test_load_from_a_pipe_is_an_error_of_the_system() -> None:
    ours, theirs = os.pipe()
    with new_memory() as memory, pytest.raises(OSError, match="seek"):
        memory.load(ours, 0, 0, 1)
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("address", [0, 0x1000, 1 << 32])
def test_memory_lies_where_huge_pages_can_be_mapped(address: int) -> None:
    with GuestMemory([anonymous(address, 8 * PAGE)]) as memory:
        view = memory.view(address, 8 * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(view))
        view.release()
        assert start % HUGE_PAGE == address % HUGE_PAGE
        memory.prefer_huge_pages()
