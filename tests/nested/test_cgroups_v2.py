"""Cgroup version 2 alone, with all its controllers: the tests of cgroups hold there, and more."""

import errno
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.cgroups import CgroupError, Cgroups
from ringlet.container.cgroups.file_access import keyed

from ..container.bundle import Bundle
from ..container.cgroups.conftest import make_cgroup  # noqa: F401
from ..container.cgroups.inside import PYTHON, eventually, run, running
from ..container.cgroups.test_bpf import *  # noqa: F403
from ..container.cgroups.test_cgroup import *  # noqa: F403
from ..container.cgroups.test_device_filter import *  # noqa: F403
from ..container.cgroups.test_devices import *  # noqa: F403
from ..container.cgroups.test_find import *  # noqa: F403
from ..container.cgroups.test_limits import *  # noqa: F403
from ..container.cgroups.test_rootless import *  # noqa: F403
from ..container.cgroups.test_stats import *  # noqa: F403
from ..container.conftest import bundle  # noqa: F401
from .needs import lacks

pytestmark = pytest.mark.needs_cgroups

# These are about version 1, which isn't here.
del test_rules_change_while_there_are_cgroups_below  # noqa: F821
del test_what_is_ignored_is_noted  # noqa: F821
del test_what_the_container_has_frozen_itself_ends_too  # noqa: F821
del test_a_path_below_of_some_controllers  # noqa: F821


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


def test_writes_of_a_disk_are_throttled(make_cgroup: Any, disk: Disk) -> None:  # noqa: F811
    path, numbers = disk
    major, minor = map(int, numbers.split(":"))
    writable = {"allow": True, "type": "b", "major": major, "minor": minor, "access": "w"}
    throttle = {"throttleWriteIOPSDevice": [{"major": major, "minor": minor, "rate": 4}]}
    cgroup = make_cgroup({"blockIO": throttle, "devices": [writable]})
    start = time.monotonic()
    dd = run(cgroup, "dd", "if=/dev/zero", f"of={path}", "bs=4k", "count=8", "oflag=direct")
    assert dd.returncode == 0, dd.stderr
    assert time.monotonic() - start > 1  # second, of the 2 that it takes


def test_weights_of_disks(make_cgroup: Any, disk: Disk) -> None:  # noqa: F811
    major, minor = map(int, disk[1].split(":"))
    cgroup = make_cgroup({"blockIO": {"weight": 10}})
    weights = Path(cgroup.unified, "io.weight")
    assert weights.read_text() == "default 1\n"
    wanted = {"blockIO": {"weightDevice": [{"major": major, "minor": minor, "weight": 1000}]}}
    with pytest.raises(CgroupError, match="Operation not supported"):
        cgroup.set(wanted)
    Path("/sys/fs/cgroup/io.cost.qos").write_text(f"{disk[1]} enable=1")
    cgroup.set(wanted)
    assert weights.read_text() == f"default 1\n{disk[1]} 10000\n"


BUSY = ("/bin/sh", "-c", "echo ready; while :; do :; done")


@pytest.mark.parametrize("lesser", [{"shares": 102}, {"idle": 1}])
def test_processors_are_shared_by_weight(make_cgroup: Any, lesser: Any) -> None:  # noqa: F811
    cpu = str(min(os.sched_getaffinity(0)))
    more = make_cgroup({"cpu": {"shares": 1024, "cpus": cpu}})
    less = make_cgroup({"cpu": {"cpus": cpu, **lesser}})

    def used(cgroup: Any) -> int:
        total: int = cgroup.stats()["cpu"]["usage"]["total"]  # nanoseconds
        return total

    with running(less, *BUSY), running(more, *BUSY):
        before = used(more), used(less)
        assert eventually(lambda: used(more) > before[0] + 500_000_000)
        assert used(more) - before[0] > 3 * (used(less) - before[1])


def test_memory_above_the_high_mark_slows_who_wants_it(make_cgroup: Any, tmp_path: Path) -> None:  # noqa: F811
    cgroup = make_cgroup({"unified": {"memory.high": str(4 << 20)}})
    script = f"echo ready; exec dd if=/dev/zero of={tmp_path}/file bs=1M count=64"

    def events() -> dict[str, int]:
        return keyed(Path(cgroup.unified, "memory.events").read_text())

    with running(cgroup, "/bin/sh", "-c", script):
        assert eventually(lambda: events()["high"] > 0)
    assert events()["oom_kill"] == 0


def test_a_reservation_and_swap_beside_the_limit(make_cgroup: Any) -> None:  # noqa: F811
    memory = {"limit": 64 << 20, "swap": 96 << 20, "reservation": 16 << 20}
    cgroup = make_cgroup({"memory": memory})
    values = {
        name: Path(cgroup.unified, f"memory.{name}").read_text().strip()
        for name in ("max", "swap.max", "low")
    }
    assert values == {"max": str(64 << 20), "swap.max": str(32 << 20), "low": str(16 << 20)}


def test_a_partition_of_processors_that_has_no_effect_is_refused(make_cgroup: Any) -> None:  # noqa: F811
    # Of all processors: the kernel takes it, and then calls it invalid.
    cpus = Path("/sys/fs/cgroup/cpuset.cpus.effective").read_text().strip()
    with pytest.raises(CgroupError, match=r"cpuset.cpus.partition root has no effect: root inv"):
        make_cgroup({"unified": {"cpuset.cpus": cpus, "cpuset.cpus.partition": "root"}})


@pytest.mark.needs_root
@pytest.mark.needs_busybox
@pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
def test_a_mount_without_a_cgroup_namespace_leaves_the_hosts_options(
    bundle: Bundle,  # noqa: F811
    kind: str,
) -> None:
    """Mounted anew, the file system would lose what the host has it mounted with."""

    def options() -> str:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        return next(line.split(" ")[3] for line in mounts if " /sys/fs/cgroup cgroup2 " in line)

    before = options()
    subprocess.run(["mount", "-o", "remount,nsdelegate", "/sys/fs/cgroup"], check=True)
    try:
        assert "nsdelegate" in options()
        linux = bundle.config["linux"]
        linux["namespaces"] = [it for it in linux["namespaces"] if it["type"] != "cgroup"]
        for mount in bundle.config["mounts"]:
            if mount["destination"] == "/sys/fs/cgroup":
                mount["type"] = kind
        answer = bundle.run("ls /sys/fs/cgroup")
        assert (answer.returncode, "cgroup.procs" in answer.stdout) == (0, True), answer.stderr
        assert "nsdelegate" in options()
    finally:
        rest = ",".join(it for it in before.split(",") if it.startswith("memory_"))
        subprocess.run(["mount", "-o", f"remount,{rest}", "/sys/fs/cgroup"], check=True)


HUGE = """
import mmap
HUGETLB = 0x40000
for pages in (1, 2):
    try:
        with mmap.mmap(-1, pages << 21, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | HUGETLB) as it:
            it[0] = it[(pages << 21) - 1] = 1
        print(pages)
    except OSError as error:
        print(error.errno)
"""


def test_huge_pages_are_limited(make_cgroup: Any) -> None:  # noqa: F811
    pages = Path("/proc/sys/vm/nr_hugepages")
    pages.write_text("4")
    try:
        if int(pages.read_text()) < 4:
            lacks("memory for four huge pages")
        cgroup = make_cgroup({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]})
        assert run(cgroup, PYTHON, "-Sc", HUGE).stdout.split() == ["1", str(errno.ENOMEM)]
    finally:
        pages.write_text("0")
