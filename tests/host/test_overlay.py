"""Snapshots: against a model, from several threads, without room, and gone at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.errors import ConfigError
from ringlet.host.disk import open_disk
from ringlet.host.overlay import Overlay

from .disks import buffers, image, run_mounted

pytestmark = pytest.mark.usefixtures("no_leak")

SECTOR, BLOCK = 512, 4096
SECTORS = 100  # the last block is half of one

operations = st.lists(
    st.tuples(
        st.sampled_from(["read", "write", "zero", "discard"]),
        st.integers(0, SECTORS - 1),
        st.integers(0, SECTORS) | st.integers(0, 9),
        st.lists(st.integers(0, 5000), max_size=5),
    ),
    max_size=15,
)


def snapshot(path: Path) -> Overlay:
    disk = open_disk(path, snapshot=True)
    assert isinstance(disk, Overlay)
    return disk


def content(disk: Overlay, offset: int = 0, size: int = SECTORS * SECTOR) -> bytes:
    into = bytearray(size)
    disk.read([memoryview(into)], offset)
    return bytes(into)


@given(operations)
def test_a_snapshot_is_a_disk_and_changes_none(
    tmp_path: Path, steps: list[tuple[str, int, int, list[int]]]
) -> None:
    path = image(tmp_path, SECTORS * SECTOR)
    before = path.read_bytes()
    model = bytearray(before)
    with snapshot(path) as disk:
        for what, first, count, sizes in steps:
            start = first * SECTOR
            size = min(count, SECTORS - first) * SECTOR
            end = start + size
            if what == "read":
                into = buffers(bytes(size), sizes)
                if not disk.try_read(into, start):
                    disk.read(into, start)
                assert b"".join(into) == model[start:end]
            elif what == "write":
                data = os.urandom(size)
                parts = buffers(data, sizes)
                if not disk.try_write(parts, start):
                    disk.write(parts, start)
                model[start:end] = data
            elif what == "zero":
                disk.write_zeroes(start, size, unmap=False)
                model[start:end] = bytes(size)
            else:
                disk.discard(start, size)
                model[start:end] = content(disk, start, size)
            disk.flush()
            assert content(disk) == model
    assert path.read_bytes() == before


def test_the_disk_looks_like_its_image(tmp_path: Path) -> None:
    path = image(tmp_path, SECTORS * SECTOR)
    with snapshot(path) as disk:
        assert (disk.name, disk.size, disk.readonly) == (str(path), SECTORS * SECTOR, False)
        assert (disk.block_size, disk.physical_block_size) == (512, 4096)
        assert disk.can_discard
        assert disk.can_write_zeroes
    disk.close()  # once more does nothing


BLOCKS = 500


def at_once(*work: Callable[[int], None]) -> None:
    """Calls each of them, on a thread of its own, with the offset of one block after the other."""
    together = threading.Barrier(len(work))

    def run(do: Callable[[int], None]) -> None:
        for block in range(BLOCKS):
            together.wait()
            do(block * BLOCK)

    threads = [threading.Thread(target=run, args=(do,)) for do in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_that_write_into_one_block_lose_nothing(tmp_path: Path) -> None:
    path = image(tmp_path, BLOCKS * BLOCK)
    model = bytearray(path.read_bytes())
    sectors = (0, 2, 4, 7)  # the others stay the image's
    with snapshot(path) as disk:

        def writer(sector: int) -> Callable[[int], None]:
            data = memoryview(bytes([sector]) * SECTOR)
            return lambda offset: disk.write([data], offset + sector * SECTOR)

        at_once(*map(writer, sectors))
        for offset in range(0, BLOCKS * BLOCK, BLOCK):
            for sector in sectors:
                start = offset + sector * SECTOR
                model[start : start + SECTOR] = bytes([sector]) * SECTOR
        assert content(disk, 0, BLOCKS * BLOCK) == model


def test_a_block_that_is_zeroed_while_it_is_written_keeps_nothing_of_the_image(
    tmp_path: Path,
) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(b"o" * BLOCKS * BLOCK)
    with snapshot(path) as disk:
        at_once(
            lambda offset: disk.write([memoryview(b"n" * SECTOR)], offset),
            lambda offset: disk.write_zeroes(offset, BLOCK, unmap=True),
        )
        assert set(content(disk, 0, BLOCKS * BLOCK)) <= {0, ord("n")}


def test_a_reader_sees_old_or_new_while_a_block_moves(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(b"o" * BLOCKS * BLOCK)
    seen: set[int] = set()
    with snapshot(path) as disk:
        at_once(
            lambda offset: disk.write([memoryview(b"n" * BLOCK)], offset),
            lambda offset: seen.update(content(disk, offset, BLOCK)),
        )
        assert set(content(disk, 0, BLOCKS * BLOCK)) == {ord("n")}
    assert seen <= {ord("o"), ord("n")}


def test_only_what_was_changed_takes_room(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.touch()
    os.truncate(path, 1 << 40)
    with snapshot(path) as disk:
        for start in (0, 1 << 30, (1 << 40) - SECTOR):
            disk.write([memoryview(b"x" * SECTOR)], start)
            assert content(disk, start, SECTOR) == b"x" * SECTOR
        assert os.fstat(disk._changes._fd).st_blocks * 512 <= 1 << 20
        disk.discard(0, 1 << 20)
        assert content(disk, 0, SECTOR) == bytes(SECTOR)


def test_nothing_is_left_even_if_the_process_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    program = """
import os, signal, sys
from ringlet.host.disk import open_disk
disk = open_disk(sys.argv[1], snapshot=True)
disk.write([memoryview(b"x" * 512)], 0)
print(os.listdir(os.environ["TMPDIR"]), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    result = subprocess.run(
        [sys.executable, "-c", program, image(tmp_path, 1 << 20)],
        env=os.environ | {"TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (-signal.SIGKILL, "[]\n"), result.stderr
    assert os.listdir(folder) == []


def test_another_folder_does_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    with snapshot(image(tmp_path, 1 << 20)) as disk:
        disk.write([memoryview(b"x" * SECTOR)], 0)
        assert content(disk, 0, SECTOR) == b"x" * SECTOR


def test_a_file_system_without_such_files_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", "/proc")
    monkeypatch.setattr("tempfile.tempdir", "/proc")
    with pytest.raises(ConfigError, match="there can be no snapshot of") as caught:
        snapshot(image(tmp_path, 1 << 20))
    assert "TMPDIR" in caught.value.hint


@pytest.mark.needs_mount_namespace
def test_without_room_a_write_fails_and_the_rest_stays(tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    run_mounted(
        f"mount -t tmpfs -o size=64k none {folder}; export TMPDIR={folder}",
        """
import errno, sys
from ringlet.host.disk import open_disk
with open(sys.argv[1], "rb") as file:
    before = file.read()
into = bytearray(len(before))
with open_disk(sys.argv[1], snapshot=True) as disk:
    try:
        disk.write([memoryview(b"x" * (1 << 20))], 512)
    except OSError as error:
        assert error.errno == errno.ENOSPC
    else:
        raise AssertionError
    disk.read([memoryview(into)], 0)
    assert into[:512] == before[:512]
    assert into[512 + (1 << 20) :] == before[512 + (1 << 20) :]
    # As far as there was room, then as it was.
    written = len(into) - len(into[512:].lstrip(b"x")) - 512
    assert written < 1 << 16
    assert into[512 + written :] == before[512 + written :]
""",
        image(tmp_path, 2 << 20),
    )
