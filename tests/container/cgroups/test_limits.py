import os
from typing import Any

import pytest

from ringlet.container.cgroups import CgroupError

from .inside import PYTHON, eventually, run, running, sleeper

pytestmark = pytest.mark.needs_cgroups


def test_memory_beyond_the_limit_is_the_end(make_cgroup: Any) -> None:
    cgroup = make_cgroup({"memory": {"limit": 32 << 20, "swap": 32 << 20}})
    assert cgroup.oom_kills() == 0
    assert run(cgroup, PYTHON, "-Sc", "bytearray(b'x') * (8 << 20)").returncode == 0
    assert run(cgroup, PYTHON, "-Sc", "bytearray(b'x') * (64 << 20)").returncode == -9
    assert cgroup.oom_kills() == 1
    cgroup.set({"memory": {"limit": 128 << 20, "swap": 128 << 20}})
    assert run(cgroup, PYTHON, "-Sc", "bytearray(b'x') * (64 << 20)").returncode == 0
    cgroup.set({"memory": {"limit": 32 << 20, "swap": 32 << 20}})
    assert run(cgroup, PYTHON, "-Sc", "bytearray(b'x') * (64 << 20)").returncode == -9


FORK = """
import os
made = 0
try:
    for made in range(20):
        if os.fork() == 0:
            os.read(0, 1)
            os._exit(0)
except BlockingIOError:
    print(made)
"""


def test_no_more_tasks_than_the_limit(make_cgroup: Any) -> None:
    cgroup = make_cgroup({"pids": {"limit": 4}})
    with running(cgroup, *sleeper()):
        assert run(cgroup, PYTHON, "-Sc", FORK).stdout == "2\n"


def test_a_process_runs_on_the_cpus_that_it_may(make_cgroup: Any) -> None:
    last = max(os.sched_getaffinity(0))
    cgroup = make_cgroup({"cpu": {"cpus": str(last), "mems": "0"}})
    program = "import os; print(os.sched_getaffinity(0))"
    assert run(cgroup, PYTHON, "-Sc", program).stdout == f"{{{last}}}\n"


def test_a_quota_throttles(make_cgroup: Any) -> None:
    cgroup = make_cgroup({"cpu": {"quota": 5000, "period": 100000, "shares": 512}})

    def throttled() -> bool:
        return bool(cgroup.stats()["cpu"]["throttling"]["throttledTime"] > 0)

    with running(cgroup, "/bin/sh", "-c", "echo ready; while :; do :; done"):
        assert eventually(throttled)


def test_limits_are_raised_lowered_and_lifted(make_cgroup: Any) -> None:
    cgroup = make_cgroup({"memory": {"limit": 64 << 20}, "pids": {"limit": 10}})
    for limit, swap in ((256 << 20, 512 << 20), (32 << 20, 64 << 20), (-1, -1), (32 << 20, -1)):
        cgroup.set({"memory": {"limit": limit, "swap": swap}})
        usage = cgroup.stats()["memory"]["usage"]
        assert usage["limit"] == limit if limit > 0 else usage["limit"] > 1 << 60
    cgroup.set({"pids": {"limit": -1}})
    assert cgroup.stats()["pids"]["limit"] == 0
    cgroup.set({"cpu": {"quota": 20000, "period": 50000, "burst": 10000}})
    cgroup.set({"cpu": {"quota": 5000, "period": 20000, "burst": 1000}})
    cgroup.set({"cpu": {"quota": -1, "idle": 1}})


@pytest.mark.needs_cgroups_v1
def test_what_is_ignored_is_noted(make_cgroup: Any) -> None:
    cgroup = make_cgroup(
        {"memory": {"kernel": 1 << 20, "useHierarchy": False}, "blockIO": {"weight": 500}}
    )
    assert [note.split(" ")[0] for note in cgroup.notes] == [
        "memory.kernel",
        "memory.useHierarchy",
        "blockIO.weight",
    ]


def test_a_value_without_end_is_refused_in_one_line(make_cgroup: Any) -> None:
    for value in ("1" * (1 << 20), "max " * 5000):
        with pytest.raises(CgroupError, match=r"set to .*: ") as caught:
            make_cgroup({"unified": {"cgroup.max.depth": value}})
        assert len(caught.value.message) < 250


@pytest.mark.parametrize("value", ["5\t6", "\x7f", "-5", "5 6", "max max"])
def test_an_odd_value_is_refused(make_cgroup: Any, value: str) -> None:
    with pytest.raises(CgroupError, match=r"Invalid argument|out of range"):
        make_cgroup({"unified": {"cgroup.max.depth": value}})
