"""What can be opened as a disk, and what is said of what can't."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from ringlet.host.disk import open_disk
from ringlet.host.overlay import Overlay

from .disks import error_of, image, opened

pytestmark = pytest.mark.usefixtures("no_leak")

SECTOR = 512


# --- what can't be opened ---


def test_what_is_not_there_can_be_made(tmp_path: Path) -> None:
    for path in (tmp_path / "disk.raw", image(tmp_path, SECTOR, "file") / "disk.raw"):
        error = error_of(path)
        assert error.message == f"there is no disk {path}"
        assert "truncate -s 1G" in error.hint


def test_a_directory_is_no_disk(tmp_path: Path) -> None:
    assert error_of(tmp_path).message == f"{tmp_path} is a directory"


@pytest.mark.parametrize("readonly", [False, True])
def test_only_files_and_block_devices_are_disks(tmp_path: Path, readonly: bool) -> None:
    fifo, unix = tmp_path / "fifo", tmp_path / "socket"
    os.mkfifo(fifo)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(unix))
        for path in (fifo, unix, Path("/dev/null")):
            error = error_of(path, readonly=readonly)
            assert error.message == f"{path} is neither a file nor a block device"


def test_an_empty_file_is_no_disk(tmp_path: Path) -> None:
    assert "is empty" in error_of(image(tmp_path, 0)).message


@pytest.mark.parametrize("size", [1, 511, 513, 1000])
def test_a_disk_has_whole_sectors(tmp_path: Path, size: int) -> None:
    path = image(tmp_path, size)
    error = error_of(path)
    assert error.message == f"{path} has {size} bytes, which is no multiple of 512"
    os.system(error.hint.partition(": ")[2])
    opened(path).close()


def test_what_may_not_be_opened_is_said_so() -> None:
    with tempfile.TemporaryDirectory() as folder:  # one that others may enter
        os.chmod(folder, 0o755)
        path = image(Path(folder), SECTOR)
        user = os.geteuid()
        path.chmod(0o444)
        if not user:
            os.seteuid(65534)
        try:
            assert "may not be written" in error_of(path).message
            opened(path, readonly=True).close()
            with open_disk(path, snapshot=True) as disk:
                assert isinstance(disk, Overlay)
            os.seteuid(user)
            path.chmod(0)
            if not user:
                os.seteuid(65534)
            assert "may not be read" in error_of(path, readonly=True).message
            assert "may not be read" in error_of(path, snapshot=True).message
        finally:
            os.seteuid(user)


def test_a_message_is_one_line(tmp_path: Path) -> None:
    for name in ("new\nline", "nul\0"):
        error_of(tmp_path / name)
        error_of(image(tmp_path, 1, "a\nb"))


def test_a_snapshot_is_never_readonly(tmp_path: Path) -> None:
    path = image(tmp_path, SECTOR)
    assert "readonly and a snapshot" in error_of(path, readonly=True, snapshot=True).message


def test_the_file_is_opened_as_others_are(tmp_path: Path) -> None:
    path = image(tmp_path, SECTOR)
    with opened(path) as disk:
        assert not os.get_inheritable(disk._fd)
        assert os.get_blocking(disk._fd)
        assert stat.S_ISREG(os.fstat(disk._fd).st_mode)
    disk.close()  # once more does nothing
