"""The block device over real files: reading, writing, and what fails. Source: virtio 1.2, 5.2."""

import os
import random
import resource
import struct
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.host.disk import open_disk
from ringlet.virtio import block, mmio
from ringlet.virtio.block import Block
from ringlet.virtio.device import TRANSPORT_FEATURES

from ..until import until
from .disk_driver import (
    CONTENT,
    DATA,
    DISCARD,
    FEATURES,
    FLUSH,
    HEADER,
    IN,
    IOERR,
    NONE,
    OK,
    OUT,
    SECTOR,
    SECTORS,
    SIZE,
    STATUS,
    WRITE_ZEROES,
    DiskDriver,
    disk,
)
from .driver import WRITE
from .rig import Rig, rig

pytestmark = pytest.mark.usefixtures("no_leak")


def needs_reset(made: Rig) -> None:
    until(lambda: made.read(mmio.STATUS) & mmio.DEVICE_NEEDS_RESET)


# Reading and writing.


@pytest.mark.parametrize("kind", ["raw", "readonly", "snapshot"])
@pytest.mark.parametrize(("sector", "count"), [(0, 1), (1, 8), (SECTORS - 1, 1), (0, SECTORS)])
def test_a_read_gives_what_the_file_has(image: Path, kind: str, sector: int, count: int) -> None:
    options = {} if kind == "raw" else {kind: True}
    with disk(image, **options) as driver:  # type: ignore[arg-type]
        size = count * SECTOR
        assert driver.read(sector, size) == CONTENT[sector * SECTOR :][:size]
        assert driver.written == size + 1


def test_a_read_of_what_the_host_has_not_in_memory_gives_the_same(image: Path) -> None:
    with disk(image) as driver, open(image, "rb") as file:
        for sector in range(0, SECTORS, 8):
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert driver.read(sector, 4096) == CONTENT[sector * SECTOR :][:4096]


@pytest.mark.parametrize("features", [FEATURES, TRANSPORT_FEATURES], ids=["flush", "no flush"])
@pytest.mark.parametrize(("sector", "count"), [(0, 1), (1, 8), (SECTORS - 1, 1), (0, SECTORS)])
def test_a_write_is_in_the_file_where_it_belongs_and_nowhere_else(
    image: Path, features: int, sector: int, count: int
) -> None:
    data = random.Random(1).randbytes(count * SECTOR)
    with disk(image, features=features) as driver:
        assert driver.write(sector, data) == OK
        assert driver.written == 1
        start, end = sector * SECTOR, (sector + count) * SECTOR
        assert image.read_bytes() == CONTENT[:start] + data + CONTENT[end:]
        assert driver.memory.read(DATA, len(data)) == data


def test_a_snapshot_is_written_and_the_file_is_not(image: Path) -> None:
    with disk(image, snapshot=True) as driver:
        assert driver.write(3, b"x" * 1024) == OK
        assert driver.read(2, 2048) == CONTENT[1024:1536] + b"x" * 1024 + CONTENT[2560:3072]
        assert driver.clear(WRITE_ZEROES, (3, 1, 0)) == OK
        assert driver.read(3, 512) == bytes(512)
        assert image.read_bytes() == CONTENT


def test_nothing_is_read_or_written_where_there_are_no_buffers_for_it(image: Path) -> None:
    with disk(image) as driver:
        assert driver.request(IN) == OK
        assert driver.written == 1
        assert driver.request(OUT) == OK
        assert driver.request(IN, SECTORS) == OK  # nothing of what isn't there
        assert image.read_bytes() == CONTENT


@pytest.mark.parametrize("kind", [IN, OUT])
@pytest.mark.parametrize(
    ("sector", "size"),
    [
        (SECTORS, 512),
        (SECTORS - 1, 1024),
        (0, SIZE + 512),
        (1, SIZE),
        (1 << 55, 512),  # the offset is 0, modulo 2 ** 64
        ((1 << 64) - 1, 512),
        ((1 << 55) - 1, 1024),
        (1 << 63, 512),
        (0, 511),
        (0, 1),
        (0, 513),
    ],
)
def test_what_is_not_on_the_disk_or_no_whole_sectors_is_an_error_and_nothing_is_done(
    image: Path, kind: int, sector: int, size: int
) -> None:
    with disk(image) as driver:
        driver.memory.write(DATA, b"\xdd" * size)
        assert driver.request(kind, sector, [(DATA, size, WRITE * (kind == IN))]) == IOERR
        assert driver.memory.read(DATA, size) == b"\xdd" * size
        assert image.read_bytes() == CONTENT
        assert driver.read(0, 512) == CONTENT[:512]


def test_a_transfer_larger_than_there_may_be_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 1 << 30)
    with disk(path) as driver:
        # The same 512 KiB again and again, as many as a chain has room for.
        space = (0x4_0000, 0x8_0000, WRITE)
        most = block.SEG_MAX * block.SIZE_MAX // 0x8_0000
        table = [space] * (most + 1)
        for extra in (0, 1):
            at = 0x2_0000
            entries = [(HEADER, 16, 0), *table[: most + extra], (STATUS, 1, WRITE)]
            driver.memory.write(HEADER, struct.pack("<IIQ", IN, 0, 0))
            driver.memory.write(STATUS, bytes((NONE,)))
            driver.memory.write(
                at,
                b"".join(
                    struct.pack("<QIHH", address, size, flags | (i < len(entries) - 1), i + 1)
                    for i, (address, size, flags) in enumerate(entries)
                ),
            )
            driver.queue.request([(at, 16 * len(entries), 4)])
            assert driver.memory.read(STATUS, 1)[0] == (IOERR if extra else OK)


def test_the_reserved_word_of_a_header_is_ignored(image: Path) -> None:
    with disk(image) as driver:
        assert driver.request(IN, 0, [(DATA, 512, WRITE)], reserved=0xFFFF_FFFF) == OK


# How a driver divides header, data and status (2.7.4.1).

CUTS = st.lists(st.integers(0, 16 + 3 * SECTOR), max_size=12)


def pieces(total: int, cuts: list[int]) -> list[int]:
    """Sizes that add up to `total`."""
    places = sorted({0, total, *(cut for cut in cuts if cut < total)})
    return [end - start for start, end in pairwise(places)]


@given(st.sampled_from([IN, OUT]), st.integers(1, 3), CUTS, CUTS, st.booleans())
def test_header_data_and_status_may_be_divided_in_any_way(
    image: Path, kind: int, count: int, cuts: list[int], more_cuts: list[int], empty: bool
) -> None:
    image.write_bytes(CONTENT)
    size = count * SECTOR
    header = struct.pack("<IIQ", kind, 0, 5)
    data = random.Random(2).randbytes(size)
    to_read = header + data * (kind == OUT)
    to_write = size * (kind == IN) + 1
    with disk(image) as driver:
        buffers = []
        address = DATA + 1
        for length in pieces(len(to_read), cuts):
            driver.memory.write(address, to_read[:length])
            to_read = to_read[length:]
            buffers.append((address, length, 0))
            address += length + 3
        places = []
        for length in pieces(to_write, more_cuts):
            places.append((address, length))
            buffers.append((address, length, WRITE))
            address += length + 1
        if empty:
            buffers = [part for buffer in buffers for part in (buffer, (0, 0, 0))]
        written = driver.queue.request(buffers)
        result = b"".join(driver.memory.read(*place) for place in places)
        assert result[-1] == OK
        if kind == IN:
            assert result[:-1] == CONTENT[5 * SECTOR :][:size]
            assert written == size + 1
            assert image.read_bytes() == CONTENT
        else:
            assert image.read_bytes() == CONTENT[: 5 * SECTOR] + data + CONTENT[5 * SECTOR + size :]
            assert written == 1


@pytest.mark.parametrize("size", [0, 1, 15])
def test_a_request_without_its_header_breaks_the_rules(image: Path, size: int) -> None:
    with disk(image) as driver:
        queue = driver.queue
        queue.offer(queue.chain([(HEADER, size, 0), (STATUS, 1, WRITE)]))
        queue.notify()
        needs_reset(driver.rig)
        assert queue.used_index == 0
        assert DiskDriver(driver.rig).read(0, 512) == CONTENT[:512]


def test_a_request_without_a_status_breaks_the_rules_and_is_not_done(image: Path) -> None:
    with disk(image) as driver:
        driver.memory.write(HEADER, struct.pack("<IIQ", OUT, 0, 0))
        queue = driver.queue
        queue.offer(queue.chain([(HEADER, 16, 0), (DATA, 512, 0)]))
        queue.notify()
        needs_reset(driver.rig)
        assert image.read_bytes() == CONTENT


# Durability (5.2.6.2).


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The calls of fdatasync, which are made."""
    calls: list[int] = []
    real = os.fdatasync

    def fdatasync(fd: int) -> None:
        real(fd)
        calls.append(fd)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    return calls


def test_a_write_of_a_driver_that_flushes_is_on_the_disk_after_the_flush(
    image: Path, syncs: list[int]
) -> None:
    with disk(image) as driver:
        assert driver.write(0, bytes(512)) == OK
        assert syncs == []
        assert driver.request(FLUSH) == OK
        assert driver.written == 1
        assert len(syncs) == 1


def test_a_write_of_a_driver_that_never_flushes_is_on_the_disk_when_it_is_done(
    image: Path, syncs: list[int]
) -> None:
    with disk(image, features=TRANSPORT_FEATURES) as driver:
        for count in range(1, 4):
            assert driver.write(0, bytes(512)) == OK
            assert len(syncs) == count


def test_a_flush_that_fails_is_an_error_and_so_are_those_after_it(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with disk(image) as driver:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", fail)
            assert driver.request(FLUSH) == IOERR
        assert driver.request(FLUSH) == IOERR  # what was lost stays lost
        assert driver.read(0, 512) == CONTENT[:512]


def test_a_durable_write_that_fails_is_an_error(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with disk(image, features=TRANSPORT_FEATURES) as driver:
        monkeypatch.setattr(os, "fdatasync", fail)
        assert driver.write(0, bytes(512)) == IOERR


def test_a_flush_of_a_readonly_disk_and_of_a_snapshot_is_done(image: Path) -> None:
    for options in ({"readonly": True}, {"snapshot": True}):
        with disk(image, **options) as driver:  # type: ignore[arg-type]
            assert driver.request(FLUSH) == OK


# Errors of the host are errors of the request.


def test_a_file_that_was_cut_short_is_an_error_of_what_is_missing(image: Path) -> None:
    with disk(image) as driver:
        os.truncate(image, SIZE - 4096)
        assert driver.read(SECTORS - 8, 4096) == IOERR
        assert driver.written == 0
        assert driver.read(SECTORS - 9, 4096) == IOERR
        assert driver.read(SECTORS - 16, 4096) == CONTENT[SIZE - 8192 : SIZE - 4096]


@pytest.mark.parametrize("features", [FEATURES, TRANSPORT_FEATURES], ids=["flush", "no flush"])
def test_a_write_that_the_host_refuses_is_an_error_and_the_next_is_not(
    image: Path, features: int
) -> None:
    limit = SIZE // 2 // 4096 * 4096
    with disk(image, features=features) as driver:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            assert driver.write(limit // SECTOR, b"x" * 4096) == IOERR
            assert driver.write(0, b"x" * 4096) == OK
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert image.read_bytes() == b"x" * 4096 + CONTENT[4096:]


# All together.

REQUESTS = st.lists(
    st.tuples(
        st.sampled_from([IN, OUT, FLUSH, DISCARD, WRITE_ZEROES]),
        st.integers(0, SECTORS + 2),
        st.integers(0, 20),
        st.integers(0, 255),
    ),
    max_size=30,
)


@given(REQUESTS, st.booleans(), st.booleans())
def test_a_disk_is_what_was_written_to_it(
    image: Path, requests: list[tuple[int, int, int, int]], snapshot: bool, flush: bool
) -> None:
    image.write_bytes(CONTENT)
    wanted = bytearray(CONTENT)
    features = FEATURES if flush else TRANSPORT_FEATURES
    with disk(image, features=features, snapshot=snapshot) as driver:
        for kind, sector, count, byte in requests:
            start, size = sector * SECTOR, count * SECTOR
            fits = start + size <= SIZE
            if kind == IN:
                wish = bytes(wanted[start : start + size]) if fits else IOERR
                assert driver.read(sector, size) == wish
            elif kind == OUT:
                assert driver.write(sector, bytes((byte,)) * size) == (OK if fits else IOERR)
                if fits:
                    wanted[start : start + size] = bytes((byte,)) * size
            elif kind == FLUSH:
                assert driver.request(FLUSH) == OK
            elif kind == WRITE_ZEROES:
                status = driver.clear(WRITE_ZEROES, (sector, count, byte & 1))
                assert status == (OK if fits else IOERR)
                if fits:
                    wanted[start : start + size] = bytes(size)
            else:
                assert driver.clear(DISCARD, (sector, count, 0)) == (OK if fits else IOERR)
                if fits:  # what is there now is nobody's promise
                    found = driver.read(sector, size)
                    assert isinstance(found, bytes)
                    assert len(found) == size
                    wanted[start : start + size] = found
        for sector in range(0, SECTORS, 8):
            assert driver.read(sector, 4096) == wanted[sector * SECTOR :][:4096]
    assert image.read_bytes() == (CONTENT if snapshot else wanted)


def test_a_reset_between_requests_leaves_the_disk_as_it_is(image: Path) -> None:
    with disk(image) as driver:
        made = driver.rig
        for round in range(20):
            again = DiskDriver(made, size=[1, 2, 4, 8, 128][round % 5] if round % 5 > 1 else 16)
            assert again.write(round, bytes((round,)) * 512) == OK
            assert again.read(round, 512) == bytes((round,)) * 512
    assert image.read_bytes()[20 * 512 :] == CONTENT[20 * 512 :]


def test_the_disk_is_closed_with_the_device(image: Path) -> None:
    opened = open_disk(image)
    with rig(Block(opened)):
        pass
    with open_disk(image):  # nobody has it locked
        pass
