"""runc and crun, with the configuration of ringlet's container."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ringlet.compare.instances import Request
from ringlet.compare.ways import Way


@pytest.fixture(params=["runc", "crun"])
def runtime(request: pytest.FixtureRequest, load_way: Callable[[str], Way]) -> Way:
    return load_way(request.param)


def configuration(command: list[str]) -> Any:
    bundle = Path(command[command.index("--bundle") + 1])
    return json.loads((bundle / "config.json").read_text())


def test_its_container_is_confined_as_ringlets(runtime: Way) -> None:
    config = configuration(runtime.command(Request(["loop", "5"])))
    assert config["process"]["args"] == ["/work", "loop", "5"]
    assert config["process"]["noNewPrivileges"]
    assert config["linux"]["seccomp"]
    kinds = {namespace["type"] for namespace in config["linux"]["namespaces"]}
    assert kinds == {"pid", "ipc", "uts", "mount", "cgroup", "network", "user"}
    assert "memory" not in config["linux"]["resources"]


def test_limits_and_a_disk_are_in_its_configuration(runtime: Way) -> None:
    config = configuration(runtime.command(Request(["wait"], disk="/etc/hosts", limited=True)))
    assert config["linux"]["resources"]["memory"]["limit"] == 64 << 20
    assert config["linux"]["resources"]["pids"]["limit"] == 64
    assert config["mounts"][-1]["source"] == "/etc/hosts"


def test_the_same_work_has_the_same_bundle_and_another_name(runtime: Way) -> None:
    request = Request(["start"])
    one, other = runtime.command(request), runtime.command(request)
    assert one[:-1] == other[:-1]
    assert one[-1] != other[-1]


def test_its_processes_are_the_runtime_and_the_workload(runtime: Way) -> None:
    with closing(runtime.spawn(Request(["wait"]))) as run:
        run.read_line()
        assert len(run.processes()) == 2
