from pathlib import Path
from typing import Any

import pytest

from ringlet.container.cgroups.stats import stats

from .inside import PYTHON, run, running, sleeper


@pytest.mark.needs_cgroups
def test_what_a_container_uses_is_counted(make_cgroup: Any) -> None:
    cgroup = make_cgroup({"memory": {"limit": 64 << 20}, "pids": {"limit": 9}})
    run(cgroup, PYTHON, "-Sc", "bytearray(b'x') * (20 << 20)\nfor _ in range(10**6): 0")
    with running(cgroup, *sleeper()):
        of = cgroup.stats()
    assert of["cpu"]["usage"]["total"] >= of["cpu"]["usage"]["user"] > 1_000_000
    assert of["memory"]["usage"]["max"] > 20 << 20
    assert of["memory"]["usage"]["limit"] == 64 << 20
    assert 0 < of["memory"]["usage"]["usage"] < of["memory"]["usage"]["max"]
    assert of["pids"] == {"current": 1, "limit": 9}
    assert of["cpuset"]["cpus"]
    assert list(of) == [
        "cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"
    ]  # fmt: skip


def test_version_2_in_words_of_version_1(tmp_path: Path) -> None:
    for name, text in {
        "cpu.stat": "usage_usec 30\nuser_usec 10\nsystem_usec 20\nnr_periods 4\n"
        "nr_throttled 3\nthrottled_usec 2\n",
        "cpu.pressure": "some avg10=1.50 avg60=0.00 avg300=0.00 total=7\n",
        "memory.current": "100\n",
        "memory.max": "1000\n",
        "memory.events": "low 0\nhigh 0\nmax 5\noom 1\noom_kill 1\n",
        "memory.stat": "anon 10\nfile 40\n",
        "memory.swap.current": "11\n",
        "memory.swap.max": "max\n",
        "pids.current": "3\n",
        "pids.max": "max\n",
        "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n7:0 \n",
        "hugetlb.2MB.current": "5\n",
        "hugetlb.2MB.max": "max\n",
        "hugetlb.2MB.events": "max 2\n",
        "hugetlb.2MB.rsvd.current": "0\n",
        "cpuset.cpus.effective": "0-1,4\n",
    }.items():
        (tmp_path / name).write_text(text)
    of = stats({}, str(tmp_path))
    assert of["cpu"]["usage"] == {"total": 30_000, "kernel": 20_000, "user": 10_000}
    assert of["cpu"]["throttling"] == {"periods": 4, "throttledPeriods": 3, "throttledTime": 2000}
    assert of["cpu"]["psi"] == {"some": {"avg10": 1.5, "avg60": 0, "avg300": 0, "total": 7}}
    assert of["memory"]["usage"] == {"limit": 1000, "usage": 100, "max": 0, "failcnt": 5}
    assert of["memory"]["swap"] == {"limit": (1 << 64) - 1, "usage": 111, "max": 0, "failcnt": 0}
    assert of["memory"]["cache"] == 40
    assert of["pids"] == {"current": 3, "limit": 0}
    assert of["blkio"]["ioServicedRecursive"][1] == {
        "major": 8, "minor": 0, "op": "Write", "value": 4
    }  # fmt: skip
    assert of["hugetlb"] == {"2MB": {"usage": 5, "max": 0, "failcnt": 2}}
    assert of["cpuset"]["cpus"] == [0, 1, 4]
