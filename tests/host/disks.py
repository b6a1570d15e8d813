"""What the tests of disks share: images, buffers, device files, a file system that is small."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ringlet.errors import ConfigError
from ringlet.host.disk import open_disk
from ringlet.host.raw_disk import RawDisk


def opened(path: str | Path, *, readonly: bool = False) -> RawDisk:
    disk = open_disk(path, readonly=readonly)
    assert isinstance(disk, RawDisk)
    return disk


def error_of(path: str | Path, *, readonly: bool = False, snapshot: bool = False) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        open_disk(path, readonly=readonly, snapshot=snapshot)
    assert caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


def image(folder: Path, size: int, name: str = "disk.raw") -> Path:
    """An image of random bytes."""
    path = folder / name
    path.write_bytes(os.urandom(size))
    return path


def buffers(data: bytes, sizes: list[int]) -> list[memoryview]:
    """The bytes of `data` in buffers of their own, of these sizes; the last one has the rest."""
    parts = []
    for size in [*sizes, len(data)]:
        parts.append(memoryview(bytearray(data[:size])))
        data = data[size:]
    return parts


def loop_device(file: Path, *options: str) -> str:
    """The path of a block device over `file`."""
    made = subprocess.run(
        ["losetup", "--find", "--show", *options, file], capture_output=True, text=True, check=False
    )
    if made.returncode:
        end = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        end(f"needs a loop device: {made.stderr}")
    return made.stdout.strip()


def detach(device: str) -> None:
    subprocess.run(["losetup", "--detach", device], check=True)


def run_mounted(mount: str, program: str, *arguments: str | Path) -> None:
    """Runs the Python program in a mount namespace of its own, after the shell's `mount`."""
    subprocess.run(
        [
            *("unshare", "--mount", "sh", "-ec", f'{mount}; exec "$@"', "sh"),
            *(sys.executable, "-c", program, *arguments),
        ],
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
