"""Raw disks: real files, loop devices, full file systems."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.host.raw_disk import take

from ..until import until, until_asleep
from .disks import buffers, detach, error_of, image, loop_device, opened, run_mounted

pytestmark = pytest.mark.usefixtures("no_leak")

SECTOR = 512
SECTORS = 100  # not a multiple of the page's eight

operations = st.lists(
    st.tuples(
        st.sampled_from(["read", "write", "durable", "zero", "unmap", "discard", "flush"]),
        st.integers(0, SECTORS - 1),
        st.integers(0, SECTORS),
        st.lists(st.integers(0, 5000), max_size=5),
    ),
    max_size=15,
)


def allocated(path: Path) -> int:
    with path.open("rb") as file:
        os.fsync(file.fileno())  # what is written late takes its blocks late
    return path.stat().st_blocks * SECTOR


@given(operations)
def test_a_disk_holds_what_was_written(
    tmp_path: Path, steps: list[tuple[str, int, int, list[int]]]
) -> None:
    path = image(tmp_path, SECTORS * SECTOR)
    model = bytearray(path.read_bytes())
    with opened(path) as disk:
        for what, first, count, sizes in steps:
            start = first * SECTOR
            size = min(count, SECTORS - first) * SECTOR
            here = slice(start, start + size)
            if what == "read":
                into = buffers(bytes(size), sizes)
                if not disk.try_read(into, start):
                    disk.read(into, start)
                assert b"".join(into) == model[here]
            elif what in ("write", "durable"):
                data = os.urandom(size)
                parts = buffers(data, sizes)
                durable = what == "durable"
                if durable or not disk.try_write(parts, start):
                    disk.write(parts, start, durable=durable)
                model[here] = data
            elif what == "discard":
                disk.discard(start, size)
                model[here] = path.read_bytes()[here]
            elif what == "flush":
                disk.flush()
            else:
                disk.write_zeroes(start, size, unmap=what == "unmap")
                model[here] = bytes(size)
            assert path.read_bytes() == model


@given(st.lists(st.binary(max_size=20)), st.integers(0, 100))
def test_taking_the_first_bytes_copies_nothing(parts: list[bytes], size: int) -> None:
    data = b"".join(parts)
    size = min(size, len(data))
    left = deque(memoryview(part) for part in parts)
    taken = take(left, size)
    assert (b"".join(taken), b"".join(left)) == (data[:size], data[size:])
    for view in (*taken, *left):
        assert any(view.obj is part for part in parts)


def test_an_image_is_a_disk(tmp_path: Path) -> None:
    path = image(tmp_path, 1 << 20)
    with opened(path) as disk:
        assert (disk.name, disk.size, disk.readonly) == (str(path), 1 << 20, False)
        assert (disk.block_size, disk.physical_block_size) == (512, 4096)
        assert disk.can_write_zeroes
    with opened(path, readonly=True) as disk:
        assert (disk.readonly, disk.can_discard, disk.can_write_zeroes) == (True, False, False)
        with pytest.raises(OSError, match="Bad file descriptor"):
            disk.write([memoryview(bytes(SECTOR))], 0)


def test_a_read_needs_no_waiting_once_the_page_cache_has_it(tmp_path: Path) -> None:
    path = image(tmp_path, 1 << 16)
    into = memoryview(bytearray(1 << 16))
    with opened(path) as disk:
        assert disk.try_read([into[:5], into[5:]], 0)
        assert into == path.read_bytes()
        assert not disk.try_read([into], SECTOR)  # the end comes first


def test_where_nobody_says_whether_it_would_wait_the_last_transfer_tells(tmp_path: Path) -> None:
    data = memoryview(bytearray(SECTOR))
    with opened(image(tmp_path, 1 << 16)) as disk:
        disk._try_reads = disk._try_writes = False
        assert disk.try_read([data], 0)
        assert disk.try_write([data], 0)
        for pace in (disk._reads, disk._writes):
            with pace.timed(0):
                time.sleep(0.01)
        assert not disk.try_read([data], 0)
        assert not disk.try_write([data], 0)
        # On a busy host, one transfer may take as long as one that waits.
        until(lambda: disk.read([data], 0) or disk.try_read([data], 0))
        until(lambda: disk.write([data], 0) or disk.try_write([data], 0))


def test_what_is_discarded_is_the_hosts_again(tmp_path: Path) -> None:
    path = image(tmp_path, 1 << 20)
    before = allocated(path)
    with opened(path) as disk:
        if not disk.can_discard:
            pytest.skip("a file system without holes")
        disk.discard(0, 1 << 18)
        disk.write_zeroes(1 << 18, 1 << 18, unmap=True)
        assert allocated(path) <= before - (1 << 19)
        disk.write_zeroes(1 << 19, 1 << 18, unmap=False)
        assert allocated(path) <= before - (1 << 19)
        disk.discard(0, 0)
    assert path.stat().st_size == 1 << 20
    assert not any(path.read_bytes()[: 3 << 18])


def test_zeros_are_written_where_the_file_system_knows_no_other_way() -> None:
    path = Path("/dev/shm", f"ringlet-test-{os.getpid()}")
    path.write_bytes(b"x" * (5 << 20))
    try:
        with opened(path) as disk:
            disk.write_zeroes(SECTOR, 3 << 20, unmap=False)
        data = path.read_bytes()
    finally:
        path.unlink()
    assert data == b"x" * SECTOR + bytes(3 << 20) + b"x" * ((2 << 20) - SECTOR)


def test_a_file_that_was_cut_short_ends_a_read(tmp_path: Path) -> None:
    path = image(tmp_path, 1 << 16)
    with opened(path) as disk:
        os.truncate(path, 1 << 15)
        with pytest.raises(EOFError, match="shorter"):
            disk.read([memoryview(bytearray(1 << 16))], 0)
        disk.write([memoryview(b"x" * SECTOR)], (1 << 16) - SECTOR)
        disk.read([memoryview(bytearray(1 << 16))], 0)


def test_a_file_may_not_grow_above_the_processs_limit(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.touch()
    os.truncate(path, 1 << 20)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(path) as disk:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                disk.write([memoryview(bytes(1 << 17))], 0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.needs_mount_namespace
def test_a_full_file_system_is_the_callers_to_report(tmp_path: Path) -> None:
    run_mounted(
        f"mount -t tmpfs -o size=64k none {tmp_path}; truncate -s 1M {tmp_path}/disk.raw",
        """
import errno, sys
from ringlet.host.disk import open_disk
with open_disk(sys.argv[1]) as disk:
    try:
        disk.write([memoryview(b"x" * (1 << 20))], 0)
    except OSError as error:
        assert error.errno == errno.ENOSPC
    else:
        raise AssertionError
    disk.discard(0, 1 << 20)  # and there is room again
    disk.write([memoryview(b"x" * 512)], 1 << 19)
""",
        tmp_path / "disk.raw",
    )


@pytest.mark.needs_mount_namespace
def test_a_read_only_file_system_has_disks_to_read(tmp_path: Path) -> None:
    run_mounted(
        f"mount -t tmpfs none {tmp_path}; truncate -s 1M {tmp_path}/disk.raw;"
        f"mount -o remount,ro {tmp_path}",
        """
import sys
from ringlet.errors import ConfigError
from ringlet.host.disk import open_disk
open_disk(sys.argv[1], readonly=True).close()
open_disk(sys.argv[1], snapshot=True).close()
try:
    open_disk(sys.argv[1])
except ConfigError as error:
    assert error.message.endswith("disk.raw may not be written: Read-only file system")
else:
    raise AssertionError
""",
        tmp_path / "disk.raw",
    )


# --- block devices ---


@pytest.fixture
def device(tmp_path: Path) -> Iterator[str]:
    device = loop_device(image(tmp_path, 1 << 20))
    yield device
    detach(device)


@pytest.mark.needs_root
def test_a_block_device_is_a_disk(tmp_path: Path, device: str) -> None:
    with opened(device) as disk:
        assert (disk.size, disk.block_size, disk.physical_block_size) == (1 << 20, 512, 512)
        into = memoryview(bytearray(1 << 20))
        disk.read([into[:700], into[700:]], 0)
        assert into == (tmp_path / "disk.raw").read_bytes()
        disk.write([memoryview(b"x" * SECTOR)], SECTOR)
        disk.write_zeroes(2 * SECTOR, SECTOR, unmap=False)
        disk.write_zeroes(3 * SECTOR, SECTOR, unmap=True)
        disk.flush()
        file = (tmp_path / "disk.raw").read_bytes()
        assert file == into[:SECTOR].tobytes() + b"x" * SECTOR + bytes(2 * SECTOR) + into[2048:]


@pytest.mark.needs_root
def test_discard_reaches_below_a_block_device(tmp_path: Path, device: str) -> None:
    before = allocated(tmp_path / "disk.raw")
    with opened(device) as disk:
        if not disk.can_discard:
            pytest.skip("a file system without holes")
        disk.discard(0, 1 << 19)
        disk.discard(0, 0)
    assert allocated(tmp_path / "disk.raw") <= before - (1 << 19)
    with opened(device, readonly=True) as disk:
        assert not disk.can_discard


@pytest.mark.needs_root
def test_a_block_device_has_a_block_size_of_its_own(tmp_path: Path) -> None:
    device = loop_device(image(tmp_path, 1 << 20), "--sector-size", "4096")
    try:
        with opened(device) as disk:
            assert (disk.block_size, disk.physical_block_size) == (4096, 4096)
            disk.write_zeroes(SECTOR, SECTOR, unmap=True)  # a part of a block
            into = memoryview(bytearray(SECTOR))
            disk.read([into], SECTOR)
            assert not any(into)
    finally:
        detach(device)


@pytest.mark.needs_root
def test_a_block_device_set_to_read_only_is_to_be_read(tmp_path: Path) -> None:
    device = loop_device(image(tmp_path, 1 << 20), "--read-only")
    try:
        assert "may not be written" in error_of(device).message
        opened(device, readonly=True).close()
    finally:
        detach(device)


@pytest.mark.needs_root
def test_a_block_device_that_is_in_use_is_refused(device: str) -> None:
    other = os.open(device, os.O_RDONLY | os.O_EXCL)  # as a mount does
    try:
        assert "is mounted, or in use" in error_of(device).message
        opened(device, readonly=True).close()
    finally:
        os.close(other)
    with opened(device):
        assert "in use" in error_of(device).message
        assert "written to" in error_of(device, readonly=True).message


@pytest.mark.needs_root
@pytest.mark.needs_mount_namespace
@pytest.mark.usefixtures("device")  # there are any, then
def test_a_failed_flush_is_never_followed_by_one_that_succeeds(tmp_path: Path) -> None:
    """A device over a file with holes, on a file system that has no room for them."""
    small = tmp_path / "small"
    small.mkdir()
    file = tmp_path / "room"
    file.write_bytes(b"x" * (1 << 16))
    run_mounted(
        f"mount -t tmpfs -o size=64k none {small}; truncate -s 1M {small}/disk.raw;"
        f"cp {file} {small}/room || true",
        """
import os, subprocess, sys
from ringlet.host.disk import open_disk
small = sys.argv[1]
command = ["losetup", "--find", "--show", small + "/disk.raw"]
device = subprocess.check_output(command, text=True).strip()
fails = []
try:
    with open_disk(device) as disk:
        disk.write([memoryview(b"x" * 4096)], 0)
        for _ in range(3):
            try:
                disk.flush()
            except OSError as error:
                fails.append(error.errno)
            os.truncate(small + "/room", 0)
        try:
            disk.write([memoryview(b"x" * 4096)], 4096, durable=True)
        except OSError as error:
            fails.append(error.errno)
finally:
    subprocess.run(["losetup", "--detach", device], check=True)
assert fails[0] and len(fails) == 4 and len(set(fails)) == 1, fails
""",
        small,
    )


def test_flushes_that_wait_for_one_share_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[int] = []
    goes_on = threading.Event()
    fdatasync = os.fdatasync

    def held(fd: int) -> None:
        began.append(fd)
        goes_on.wait()
        fdatasync(fd)

    with opened(image(tmp_path, SECTOR)) as disk:
        monkeypatch.setattr(os, "fdatasync", held)
        first = threading.Thread(target=disk.flush)
        first.start()
        until(lambda: began)
        others = [threading.Thread(target=disk.flush) for _ in range(8)]
        for thread in others:
            thread.start()
        for thread in others:  # each waits, but for one that may do it for the rest
            until_asleep(os.getpid(), thread.native_id)
        goes_on.set()
        for thread in (first, *others):
            thread.join()
        assert 2 <= len(began) < 1 + len(others)
        disk.flush()
        assert len(began) >= 3
