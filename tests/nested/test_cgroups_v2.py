"""Cgroup version 2 alone, with all its controllers: the tests of cgroups hold there, and more."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.cgroups import Cgroups

from ..container.cgroups.conftest import make_cgroup  # noqa: F401
from ..container.cgroups.inside import run
from ..container.cgroups.test_bpf import *  # noqa: F403
from ..container.cgroups.test_cgroup import *  # noqa: F403
from ..container.cgroups.test_device_filter import *  # noqa: F403
from ..container.cgroups.test_devices import *  # noqa: F403
from ..container.cgroups.test_find import *  # noqa: F403
from ..container.cgroups.test_limits import *  # noqa: F403
from ..container.cgroups.test_rootless import *  # noqa: F403
from ..container.cgroups.test_stats import *  # noqa: F403
from .needs import lacks

pytestmark = pytest.mark.needs_cgroups

# These are about version 1, which isn't here.
del test_rules_change_while_there_are_cgroups_below  # noqa: F821
del test_what_is_ignored_is_noted  # noqa: F821


def test_this_machine_has_version_2_alone() -> None:
    assert [it.version for it in Cgroups.find().hierarchies] == [2]
    controllers = Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
    assert {"cpuset", "cpu", "io", "memory", "hugetlb", "pids"} <= set(controllers)


Disk = tuple[Path, str]  # and its numbers


@pytest.fixture
def disk(generic_kernel: Path, kernel_modules: Callable[[Path], Path]) -> Iterator[Disk]:
    """A disk that holds nothing."""
    modules = kernel_modules(generic_kernel)
    if modules.name != os.uname().release:
        lacks(f"the modules of Linux {os.uname().release}")
    for module in ("fs/configfs/configfs.ko", "drivers/block/null_blk/null_blk.ko"):
        subprocess.run(["insmod", str(modules / "kernel" / module)], check=True)
    yield Path("/dev/nullb0"), Path("/sys/block/nullb0/dev").read_text().strip()
    subprocess.run(["rmmod", "null_blk", "configfs"], check=True)


def test_reads_of_a_disk_are_throttled_and_counted(make_cgroup: Any, disk: Disk) -> None:  # noqa: F811
    path, numbers = disk
    major, minor = map(int, numbers.split(":"))
    rate = {"major": major, "minor": minor, "rate": 1 << 20}
    readable = {"allow": True, "type": "b", "major": major, "minor": minor, "access": "r"}
    throttle = {"throttleReadBpsDevice": [rate]}
    cgroup = make_cgroup({"blockIO": throttle, "devices": [readable]})
    start = time.monotonic()
    dd = run(cgroup, "dd", f"if={path}", "of=/dev/zero", "bs=1M", "count=4", "iflag=direct")
    assert dd.returncode == 0, dd.stderr
    assert time.monotonic() - start > 2  # seconds, of the 3 or 4 that it takes
    counted = cgroup.stats()["blkio"]["ioServiceBytesRecursive"]
    assert {"major": major, "minor": minor, "op": "Read", "value": 4 << 20} in counted


def test_what_is_spelled_in_version_2_is_set(make_cgroup: Any) -> None:  # noqa: F811
    cgroup = make_cgroup({"unified": {"memory.high": "1048576", "pids.max": "9"}})
    assert Path(cgroup.unified, "memory.high").read_text() == "1048576\n"
    assert cgroup.stats()["pids"]["limit"] == 9


def test_a_weight_of_shares_and_a_burst(make_cgroup: Any) -> None:  # noqa: F811
    cpu = {"shares": 1024, "quota": 10000, "period": 50000, "burst": 5000}
    cgroup = make_cgroup({"cpu": cpu})
    assert Path(cgroup.unified, "cpu.weight").read_text() == "100\n"
    assert Path(cgroup.unified, "cpu.max").read_text() == "10000 50000\n"
    cgroup.set({"cpu": {"quota": 20000}})
    assert Path(cgroup.unified, "cpu.max").read_text() == "20000 50000\n"
    assert Path(cgroup.unified, "cpu.max.burst").read_text() == "5000\n"
