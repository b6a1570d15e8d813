"""What takes all that it can get gets no more than its limit, and others have theirs."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.cgroups.file_access import keyed, read
from ringlet.container.container import TIMEOUT_STATUS, Container
from ringlet.host.workload import Workload

from .cgroups.inside import eventually
from .rootfs import make_rootfs

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_busybox,
    pytest.mark.needs_cgroups,
]

MEMORY, PIDS, CPUS = 32 << 20, 30, 0.2
SLACK = 1 << 20  # bytes that a process may get while it is being killed
COUNT = 5000

FORKS_FOREVER = "(f() { f | f & }; f) & exec sleep 1000"
FORKS_60 = "for i in $(seq 60); do sleep 1000 & done; exec sleep 1000"
GROWS_FOREVER = "while :; do sh -c 'x=x; while :; do x=$x$x; done'; done"
GROWS_TO_32_MIB = "x=x; for i in $(seq 25); do x=$x$x; done"
SPINS = "while :; do :; done"


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rootfs(tmp_path_factory.mktemp("hogs") / "rootfs")


@contextmanager
def running(rootfs: Path, script: str, **limits: Any) -> Iterator[Container]:
    """A container that runs the script, and says nothing."""
    config = Workload(rootfs=rootfs, command=["sh", "-c", script], **limits)
    with (
        open(os.devnull, "r+b") as null,
        Container(config, stdio=(null.fileno(),) * 3) as container,
    ):
        container.start()
        yield container


@pytest.fixture
def others_go_on(rootfs: Path) -> Callable[[], bool]:
    """Whether a program of the host and a neighbour, who has to count, come to their end."""

    def go_on() -> bool:
        script = f"i=0; while [ $i -lt {COUNT} ]; do i=$((i+1)); done; exec test $i = {COUNT}"
        with running(rootfs, script, timeout=60) as neighbour:
            ended = neighbour.wait()
        assert ended is not None
        return ended.status == 0 and subprocess.run(["true"], check=False).returncode == 0

    return go_on


def pids(container: Container, name: str) -> str | None:
    cgroup = container.cgroup
    folder = cgroup.version_1.get("pids", cgroup.unified)
    assert folder is not None
    return read(folder, f"pids.{name}")


def failed_forks(container: Container) -> int:
    return keyed(pids(container, "events"))["max"]


def peak(container: Container) -> int:
    """Of its memory, in bytes."""
    return int(container.stats()["memory"]["usage"]["max"])


def used(container: Container) -> float:
    """Seconds of processors."""
    return float(container.stats()["cpu"]["usage"]["total"]) / 1e9


# ---- Processes ----


def test_a_fork_bomb_has_as_many_processes_as_it_may(
    rootfs: Path, others_go_on: Callable[[], bool]
) -> None:
    with running(rootfs, FORKS_FOREVER, pids=PIDS, cpus=0.5) as bomb:
        assert eventually(lambda: failed_forks(bomb) > 0)
        assert others_go_on()
        assert 0 < int(pids(bomb, "current") or 0) <= PIDS
        assert int(pids(bomb, "peak") or PIDS) == PIDS  # Linux before 6.6 doesn't count it


def test_without_a_limit_there_are_more_processes(rootfs: Path) -> None:
    with running(rootfs, FORKS_60, pids=2 * 60) as many:
        assert eventually(lambda: int(pids(many, "current") or 0) == 61)
        assert failed_forks(many) == 0
    with running(rootfs, FORKS_60, pids=PIDS, timeout=60) as few:
        ended = few.wait()
        assert ended is not None
        assert ended.status not in (0, TIMEOUT_STATUS)
        assert failed_forks(few) > 0


# ---- Memory ----


def test_a_memory_hog_has_as_much_as_it_may(rootfs: Path, others_go_on: Callable[[], bool]) -> None:
    with running(rootfs, GROWS_FOREVER, memory=MEMORY, cpus=0.5) as hog:
        assert eventually(lambda: hog.cgroup.oom_kills() > 0)
        assert others_go_on()
        assert MEMORY // 2 < peak(hog) <= MEMORY + SLACK


def test_without_a_limit_there_is_more_memory(rootfs: Path) -> None:
    for memory in (MEMORY, None):
        with running(rootfs, GROWS_TO_32_MIB, memory=memory, timeout=60) as container:
            ended = container.wait()
            assert ended is not None
            assert (ended.status == 0, ended.oom_kills > 0) == (memory is None, memory is not None)
            assert (peak(container) > MEMORY + SLACK) == (memory is None)


# ---- Processors ----


def test_a_processor_hog_has_as_much_time_as_it_may(
    rootfs: Path, others_go_on: Callable[[], bool]
) -> None:
    start = time.monotonic()
    with running(rootfs, SPINS, cpus=CPUS) as hog:
        assert eventually(lambda: hog.stats()["cpu"]["throttling"]["throttledPeriods"] >= 5)
        assert others_go_on()
        assert 0 < used(hog) < 2 * CPUS * (time.monotonic() - start)


def test_without_a_limit_there_is_more_time(rootfs: Path) -> None:
    with running(rootfs, SPINS) as free:

        def share() -> float:
            before, start = used(free), time.monotonic()
            time.sleep(0.1)
            return (used(free) - before) / (time.monotonic() - start)

        assert eventually(lambda: share() > 2 * CPUS)
