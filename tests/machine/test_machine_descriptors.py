"""A machine where descriptors run out: each number of them is tried, and none is left open."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ringlet import Machine, MachineConfig, RingletError

from ..conftest import Held

pytestmark = pytest.mark.needs_kvm


@contextmanager
def at_most(descriptors: int) -> Iterator[None]:
    """This process may open none from this number on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def first_free() -> int:
    fd = os.open(os.devnull, os.O_RDONLY)
    os.close(fd)
    return fd


def disks(folder: Path) -> dict[str, Any]:
    (folder / "disk.raw").write_bytes(bytes(1 << 20))
    (folder / "other.raw").write_bytes(bytes(1 << 20))
    return {"disks": [f"{folder}/disk.raw", f"{folder}/other.raw,snapshot"], "cmdline": "keep"}


def lines(folder: Path) -> dict[str, Any]:
    return {"serial": "pty", "com2": "pipe", "com3": folder / "console", "cpus": 3, "pit": True}


def bytes_alone(folder: Path) -> dict[str, Any]:
    return {"image": b"\xf4", "protocol": "flat"}


@pytest.mark.parametrize("options", [disks, lines, bytes_alone])
def test_at_each_number_of_descriptors_none_is_left_open(
    options: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    config = MachineConfig(**{"image": "blk", "serial": "pipe"} | options(tmp_path))
    Machine(config).close()  # all is imported
    first = first_free()
    before = Held().descriptors
    refused = 0
    for number in range(first, first + 100):
        with at_most(number):
            try:
                Machine(config).close()
            except RingletError as error:
                caught = error
            else:
                break
        assert Held().descriptors == before, number
        assert (caught.message, "ulimit -n" in caught.hint) == (
            "there are too few file descriptors for the machine",
            True,
        )
        refused += 1
    else:
        pytest.fail("there are never enough")
    assert refused > 5
    assert Held().descriptors == before
