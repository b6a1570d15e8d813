"""Who may use an image at the same time: ringlet and ringlet, ringlet and QEMU."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ringlet.errors import ConfigError
from ringlet.host.disk import open_disk

from .disks import image

pytestmark = pytest.mark.usefixtures("no_leak")

READER = {"readonly": True}
SNAPSHOT = {"snapshot": True}
WRITER: dict[str, bool] = {}


def test_readers_go_together(tmp_path: Path) -> None:
    path = image(tmp_path, 512)
    with open_disk(path, **READER), open_disk(path, **SNAPSHOT), open_disk(path, **READER):
        pass


def test_a_writer_is_alone(tmp_path: Path) -> None:
    path = image(tmp_path, 512)
    for first, second, message in (
        (WRITER, WRITER, "in use"),
        (WRITER, READER, "written to"),
        (WRITER, SNAPSHOT, "written to"),
        (READER, WRITER, "in use"),
        (SNAPSHOT, WRITER, "in use"),
    ):
        with open_disk(path, **first):
            with pytest.raises(ConfigError) as caught:
                open_disk(path, **second)
            assert caught.value.message == f"{path} is {message} by another program"
            assert "fuser" in caught.value.hint
        open_disk(path, **second).close()  # the lock went with the disk


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_where_there_are_no_locks_one_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fails(*_: object) -> bytes:
        raise OSError(code, "No locks available")

    path = image(tmp_path, 512)
    monkeypatch.setattr(fcntl, "fcntl", fails)  # what such a file system says
    open_disk(path, **READER).close()
    open_disk(path, **SNAPSHOT).close()
    with pytest.raises(ConfigError, match="can't be locked") as caught:
        open_disk(path)
    assert "snapshot" in caught.value.hint


class Qemu:
    """A QEMU that has `path` as a disk, or was refused it: `said` tells."""

    def __init__(self, path: Path, readonly: bool) -> None:
        drive = f"file={path},format=raw,if=none,id=disk,readonly={'on' if readonly else 'off'}"
        self._process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-M", "microvm", "-accel", "tcg", "-S"),
                *("-nodefaults", "-display", "none", "-qmp", "stdio"),
                *("-drive", drive, "-device", "virtio-blk-device,drive=disk"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write('{"execute": "qmp_capabilities"}\n')
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        # The answer comes once the machine is made.
        self.runs = any('"return"' in line for line in self._process.stdout)

    def close(self) -> str:
        self._process.kill()
        return self._process.communicate()[1]


def test_a_lock_of_another_kind_counts_too(tmp_path: Path) -> None:
    path = image(tmp_path, 512)
    with path.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 100)
        program = "import sys; from ringlet.host.disk import open_disk; open_disk(sys.argv[1])"
        result = subprocess.run(
            [sys.executable, "-c", program, path],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert "is in use by another program" in result.stderr


@pytest.mark.needs_qemu
@pytest.mark.parametrize("qemu_reads", [False, True])
@pytest.mark.parametrize("mode", [WRITER, READER, SNAPSHOT], ids=["writer", "reader", "snapshot"])
def test_qemu_and_ringlet_respect_each_other(
    tmp_path: Path, mode: dict[str, bool], qemu_reads: bool
) -> None:
    path = image(tmp_path, 1 << 20)
    together = qemu_reads and mode != WRITER
    with open_disk(path, **mode):
        qemu = Qemu(path, qemu_reads)
        said = qemu.close()
        assert qemu.runs == together, said
        assert ("Is another process using the image" in said) != together
    with closing(Qemu(path, qemu_reads)) as qemu:
        assert qemu.runs
        if together:
            open_disk(path, **mode).close()
        else:
            with pytest.raises(ConfigError, match="by another program"):
                open_disk(path, **mode)
    open_disk(path, **mode).close()
