from pathlib import Path
from typing import Any

import pytest

from ringlet.container.cgroups.usage import usage
from ringlet.host.outcome import Usage

from .inside import PYTHON, run, running, sleeper


@pytest.mark.needs_cgroups
def test_what_a_container_uses_is_counted(make_cgroup: Any) -> None:
    cgroup = make_cgroup({"memory": {"limit": 64 << 20}, "pids": {"limit": 9}})
    run(cgroup, PYTHON, "-Sc", "bytearray(b'x') * (20 << 20)\nfor _ in range(10**6): 0")
    with running(cgroup, *sleeper()):
        used = cgroup.usage()
        of = cgroup.stats()
    assert 0.001 < used.processor <= of["cpu"]["usage"]["total"] / 1e9
    assert used.memory_peak == of["memory"]["usage"]["max"] > 20 << 20
    assert 0 < used.memory < used.memory_peak
    assert (used.processes, used.exits) == (1, None)


def test_version_2(tmp_path: Path) -> None:
    for name, text in {
        "cpu.stat": "usage_usec 2500000\nuser_usec 10\n",
        "memory.current": "100\n",
        "memory.peak": "200\n",
        "pids.current": "3\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert usage({}, str(tmp_path)) == Usage(2.5, 100, 200, 3)


def test_version_1_beside_an_empty_version_2(tmp_path: Path) -> None:
    for name, text in {
        "cpuacct.usage": "2500000000\n",
        "memory.usage_in_bytes": "100\n",
        "memory.max_usage_in_bytes": "200\n",
        "pids.current": "3\n",
    }.items():
        (tmp_path / name).write_text(text)
    unified = tmp_path / "unified"
    unified.mkdir()
    version_1 = dict.fromkeys(("cpuacct", "memory", "pids"), str(tmp_path))
    assert usage(version_1, str(unified)) == Usage(2.5, 100, 200, 3)


def test_what_a_host_does_not_count_is_none(tmp_path: Path) -> None:
    assert usage({}, str(tmp_path)) == usage({}, None) == Usage()
