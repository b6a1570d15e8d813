"""The block device over real files: its other requests, and what it offers (virtio 1.2, 5.2)."""

import os
from pathlib import Path

import pytest

from ringlet.virtio import block, mmio
from ringlet.virtio.device import TRANSPORT_FEATURES

from .disk_driver import (
    CONTENT,
    DATA,
    DISCARD,
    FEATURES,
    FLUSH,
    GET_ID,
    GET_LIFETIME,
    IOERR,
    OK,
    OUT,
    SECTOR,
    SECTORS,
    SECURE_ERASE,
    SIZE,
    UNSUPP,
    WRITE_ZEROES,
    disk,
)
from .driver import WRITE

pytestmark = pytest.mark.usefixtures("no_leak")


# Read-only.


@pytest.mark.parametrize("kind", [OUT, DISCARD, WRITE_ZEROES])
def test_a_readonly_disk_says_so_and_is_never_written(image: Path, kind: int) -> None:
    with disk(image, readonly=True) as driver:
        offered = driver.rig.driver.features
        assert offered & block.F_RO
        assert not offered & (block.F_DISCARD | block.F_WRITE_ZEROES)
        if kind == OUT:
            assert driver.write(0, bytes(512)) == IOERR
        else:
            assert driver.clear(kind, (0, 1, 0)) == UNSUPP
        assert image.read_bytes() == CONTENT


def test_a_disk_that_can_be_written_is_not_readonly(image: Path) -> None:
    with disk(image) as driver:
        assert not driver.rig.driver.features & block.F_RO


# Discard and write zeroes.


def test_zeroes_are_written_where_each_segment_says(image: Path) -> None:
    with disk(image) as driver:
        assert driver.clear(WRITE_ZEROES, (1, 3, 0), (9, 8, 1), (SECTORS - 1, 1, 0)) == OK
        assert driver.written == 1
        wanted = bytearray(CONTENT)
        for sector, count in ((1, 3), (9, 8), (SECTORS - 1, 1)):
            wanted[sector * SECTOR : (sector + count) * SECTOR] = bytes(count * SECTOR)
        assert image.read_bytes() == wanted


def test_a_discard_gives_space_back_and_leaves_the_rest_and_the_size(image: Path) -> None:
    with disk(image) as driver:
        assert driver.rig.driver.features & block.F_DISCARD
        assert driver.clear(DISCARD, (8, 16, 0), (0, 0, 0)) == OK
        content = image.read_bytes()
        start, end = 8 * SECTOR, 24 * SECTOR
        assert content[:start] + content[end:] == CONTENT[:start] + CONTENT[end:]
        assert len(content) == SIZE


@pytest.mark.parametrize("kind", [DISCARD, WRITE_ZEROES])
@pytest.mark.parametrize("flags", [2, 4, 0x8000_0000, 0xFFFF_FFFF])
@pytest.mark.parametrize("sector", [0, 1 << 60], ids=["inside", "outside the disk"])
def test_an_unknown_flag_of_any_segment_is_unsupported_and_nothing_is_done(
    image: Path, kind: int, flags: int, sector: int
) -> None:
    with disk(image) as driver:
        assert driver.clear(kind, (sector, 8, 0), (16, 8, flags)) == UNSUPP
        assert image.read_bytes() == CONTENT


def test_unmap_belongs_to_write_zeroes_and_not_to_discard(image: Path) -> None:
    with disk(image) as driver:
        assert driver.clear(DISCARD, (0, 8, 1)) == UNSUPP
        assert driver.clear(WRITE_ZEROES, (0, 8, 1)) == OK
        assert image.read_bytes() == bytes(4096) + CONTENT[4096:]


@pytest.mark.parametrize("kind", [DISCARD, WRITE_ZEROES])
@pytest.mark.parametrize(
    "segment",
    [
        (SECTORS, 1),
        (SECTORS - 1, 2),
        (0, SECTORS + 1),
        (1, 0xFFFF_FFFF),
        ((1 << 64) - 1, 1),
        (1 << 55, 1),
    ],
)
def test_a_segment_outside_the_disk_is_an_error_and_none_is_done(
    image: Path, kind: int, segment: tuple[int, int]
) -> None:
    with disk(image) as driver:
        assert driver.clear(kind, (0, 8, 0), (*segment, 0)) == IOERR
        assert image.read_bytes() == CONTENT


@pytest.mark.parametrize("kind", [DISCARD, WRITE_ZEROES])
def test_segments_are_whole_and_no_more_than_there_may_be(image: Path, kind: int) -> None:
    with disk(image) as driver:
        for size in (1, 15, 17):
            assert driver.request(kind, 0, [(DATA, size, 0)]) == IOERR
        assert driver.clear(kind, *[(0, 1, 0)] * 17) == IOERR
        assert image.read_bytes() == CONTENT
        assert driver.clear(kind, *[(0, 1, 0)] * 16) == OK


@pytest.mark.parametrize("kind", [DISCARD, WRITE_ZEROES])
def test_a_segment_larger_than_there_may_be_is_an_error(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 1 << 32)
    with disk(path) as driver:
        space = driver.rig.transport.read
        most = space(mmio.CONFIG + (36 if kind == DISCARD else 48), 4)
        assert driver.clear(kind, (0, most + 1, 0)) == IOERR
        assert driver.clear(kind, (0, most, kind == WRITE_ZEROES)) == OK


# Other requests.


@pytest.mark.parametrize("name", ["d", "exactly-twenty-bytes", "more-than-twenty-bytes.raw"])
def test_the_id_is_the_first_20_bytes_of_the_files_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(CONTENT)
    with disk(path) as driver:
        for cut in (0, 1, 19):
            buffers = [(DATA, cut, WRITE), (DATA + cut, 20 - cut, WRITE)]
            driver.memory.write(DATA, b"\xdd" * 32)
            assert driver.request(GET_ID, 0, buffers) == OK
            assert driver.written == 21
            assert driver.memory.read(DATA, 20) == name.encode()[:20].ljust(20, b"\0")
            assert driver.memory.read(DATA + 20, 12) == b"\xdd" * 12


def test_the_id_is_ascii(tmp_path: Path) -> None:
    path = tmp_path / "Gerät"
    path.write_bytes(CONTENT)
    with disk(path) as driver:
        assert driver.request(GET_ID, 0, [(DATA, 20, WRITE)]) == OK
        assert driver.memory.read(DATA, 20) == b"Ger?t".ljust(20, b"\0")


@pytest.mark.parametrize("size", [0, 1, 19, 21, 0x8_0000])
def test_the_id_has_20_bytes_and_no_other_number_is_taken(image: Path, size: int) -> None:
    with disk(image) as driver:
        driver.memory.write(DATA, b"\xdd" * 32)
        assert driver.request(GET_ID, 0, [(DATA, size, WRITE)] * 100) == IOERR
        assert driver.memory.read(DATA, 32) == b"\xdd" * 32


@pytest.mark.parametrize("features", [FEATURES, TRANSPORT_FEATURES], ids=["flush", "no flush"])
@pytest.mark.parametrize("kind", [OUT, FLUSH, WRITE_ZEROES, DISCARD])
def test_of_buffers_that_a_request_has_no_use_for_none_is_written_and_none_said_to_be(
    image: Path, kind: int, features: int
) -> None:
    with disk(image, features=features) as driver:
        driver.memory.write(DATA, b"\xdd" * 32)
        assert driver.request(kind, 0, [(DATA, 32, WRITE)]) == OK
        assert driver.written == 0
        assert driver.memory.read(DATA, 32) == b"\xdd" * 32
        assert driver.request(kind) == OK
        assert driver.written == 1


@pytest.mark.parametrize("kind", [2, 3, 5, 6, 7, 9, GET_LIFETIME, 12, SECURE_ERASE])
def test_an_unknown_request_is_unsupported(image: Path, kind: int) -> None:
    with disk(image) as driver:
        for data in ([], [(DATA, 512, 0)], [(DATA, 512, WRITE)]):
            assert driver.request(kind, 0, data) == UNSUPP
        assert image.read_bytes() == CONTENT


@pytest.mark.parametrize("kind", [15, 16, 18, 20, 22, 24, 26, 1 << 16, 1 << 31, 0xFFFF_FFFF])
def test_requests_of_zones_and_far_numbers_are_unsupported(image: Path, kind: int) -> None:
    with disk(image) as driver:
        assert driver.request(kind) == UNSUPP


# Features and the configuration space (5.2.3, 5.2.4).


def test_the_features_are_those_that_are_there(image: Path) -> None:
    with disk(image) as driver:
        bits = {bit for bit in range(64) if driver.rig.driver.features >> bit & 1}
        assert bits == {1, 2, 6, 9, 10, 13, 14, 28, 29, 32}


@pytest.mark.parametrize(
    ("offset", "size", "value"),
    [
        (0, 8, SECTORS),  # capacity
        (0, 4, SECTORS),
        (4, 4, 0),
        (8, 4, 1 << 20),  # size_max
        (12, 4, 254),  # seg_max: what the queue holds, without header and status
        (16, 2, 0),  # geometry
        (18, 1, 0),
        (19, 1, 0),
        (20, 4, 512),  # blk_size
        (24, 1, 3),  # physical_block_exp: 4096 bytes
        (25, 1, 0),  # alignment_offset
        (26, 2, 8),  # min_io_size
        (28, 4, 0),  # opt_io_size
        (32, 1, 0),  # writeback
        (33, 1, 0),  # unused0
        (34, 2, 1),  # num_queues
        (36, 4, 1 << 15),  # max_discard_sectors: 1 GiB
        (40, 4, 16),  # max_discard_seg
        (44, 4, 1),  # discard_sector_alignment
        (48, 4, 1 << 15),  # max_write_zeroes_sectors
        (52, 4, 16),  # max_write_zeroes_seg
        (56, 1, 1),  # write_zeroes_may_unmap
        (57, 1, 0),  # unused1
        (58, 2, 0),
        (60, 4, 0),
    ],
)
def test_the_configuration_has_each_field_in_its_place(
    image: Path, offset: int, size: int, value: int
) -> None:
    with disk(image) as driver:
        assert driver.rig.transport.read(0x100 + offset, size) == value


def test_the_configuration_cannot_be_written(image: Path) -> None:
    with disk(image) as driver:
        read, write = driver.rig.transport.read, driver.rig.transport.write
        before = [read(0x100 + offset, 1) for offset in range(64)]
        for offset in range(64):
            write(0x100 + offset, 1, 0xA5)
        assert [read(0x100 + offset, 1) for offset in range(64)] == before
