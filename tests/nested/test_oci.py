"""Containers on cgroup version 2 alone: by `ringlet-oci`, `ringlet run`, Python and podman."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.container import Container
from ringlet.host.workload import Workload

from ..cli.command import ENVIRONMENT, RINGLET
from ..container.bundle import Bundle
from ..container.cgroups.inside import eventually
from ..container.conftest import bundle  # noqa: F401
from ..container.rootfs import make_rootfs
from ..container.test_podman import LIMITS, Podman, podman  # noqa: F401
from .needs import lacks

pytestmark = [pytest.mark.needs_cgroups, pytest.mark.needs_busybox]

MIB = 1 << 20
EATS = "head -c 64m /dev/zero | tail >/dev/null"
SHOWS = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max"


def test_the_life_of_a_container(bundle: Bundle) -> None:  # noqa: F811
    def done(*words: str) -> str:
        answer = bundle.oci(*words)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    bundle.config["linux"]["resources"] |= {
        "memory": {"limit": 64 * MIB, "swap": 64 * MIB},
        "cpu": {"quota": 50000, "period": 100000, "shares": 1024},
        "pids": {"limit": 20},
        "unified": {"memory.high": str(60 * MIB)},
    }
    bundle.write("trap 'exit 7' TERM; while :; do sleep 0.1; done")
    folder = Path("/sys/fs/cgroup" + bundle.config["linux"]["cgroupsPath"])
    done("create", "--bundle", str(bundle.path), "one")
    state = bundle.state()
    assert state["status"] == "created"
    assert (folder / "cgroup.procs").read_text() == f"{state['pid']}\n"
    files = ("memory.max", "memory.high", "cpu.max", "cpu.weight", "pids.max")
    values = [(folder / name).read_text().strip() for name in files]
    assert values == [str(64 * MIB), str(60 * MIB), "50000 100000", "100", "20"]
    done("start", "one")
    assert done("exec", "one", "/bin/cat", "/proc/self/cgroup") == "0::/\n"
    denied = bundle.oci("exec", "one", "/bin/sh", "-c", ": < /dev/null; mknod /dev/x c 1 11")
    assert denied.returncode != 0
    done("pause", "one")
    assert (bundle.state()["status"], (folder / "cgroup.freeze").read_text()) == ("paused", "1\n")
    done("resume", "one")
    done("update", "--memory", "32m", "--pids-limit", "30", "--cpu-quota", "20000", "one")
    data = json.loads(done("events", "--stats", "one"))["data"]
    assert (data["memory"]["usage"]["limit"], data["pids"]["limit"]) == (32 * MIB, 30)
    assert (folder / "cpu.max").read_text() == "20000 100000\n"
    assert state["pid"] in json.loads(done("ps", "--format", "json", "one"))
    done("kill", "one", "TERM")
    assert eventually(lambda: bundle.state()["status"] == "stopped")
    done("delete", "one")
    assert not folder.exists()


def test_memory_that_runs_out_ends_it(bundle: Bundle) -> None:  # noqa: F811
    bundle.config["linux"]["resources"]["memory"] = {"limit": 16 * MIB, "swap": 16 * MIB}
    answer = bundle.run("exec head -c 60m /dev/zero > /dev/shm/file")
    assert answer.returncode == 128 + signal.SIGKILL, answer.stderr


def test_a_profile_of_apparmor_is_applied_or_named(bundle: Bundle) -> None:  # noqa: F811
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    if not enabled.exists() or enabled.read_text() != "Y\n":
        lacks("a kernel with AppArmor")
    bundle.config["process"]["apparmorProfile"] = "unconfined"
    answer = bundle.run("cat /proc/self/attr/apparmor/current")
    assert answer.stdout == "unconfined\n", answer.stderr
    bundle.config["process"]["apparmorProfile"] = "absent"
    answer = bundle.run("true")
    assert answer.returncode == 1
    assert "apparmor absent: write to /proc/" in answer.stderr


@pytest.fixture
def rootfs(tmp_path: Path) -> Iterator[Path]:
    yield make_rootfs(tmp_path / "rootfs")
    assert not [name for name in os.listdir("/sys/fs/cgroup") if name.startswith("ringlet-")]


def test_ringlet_run_has_limits(rootfs: Path) -> None:
    words = ["run", str(rootfs), "--memory", "16M", "--cpus", "0.5", "--pids", "9", "--json", "--"]
    done = subprocess.run(
        [*RINGLET, *words, "sh", "-c", f"({SHOWS}) >&2; {EATS}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=ENVIRONMENT,
    )
    assert f"{16 * MIB}\n9\n50000 100000\n" in done.stderr
    report = json.loads(done.stdout)
    assert report["oom_kills"] > 0
    assert report["stats"]["memory"]["usage"]["limit"] == 16 * MIB


def test_what_a_container_writes_is_thrown_away(rootfs: Path) -> None:
    """Before Linux 6.15 no layer can be made of what isn't mounted."""
    done = subprocess.run(
        [*RINGLET, "run", str(rootfs), "sh", "-c", "touch /tmp/made && ls /tmp; mount | head -1"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=ENVIRONMENT,
    )
    assert done.stdout.startswith("made\nlayer on / type overlay"), done.stderr
    assert os.listdir(rootfs / "tmp") == []


def test_a_container_in_python(rootfs: Path) -> None:
    config: Any = {"rootfs": rootfs, "command": ["sleep", "1000"], "memory": 64 * MIB, "pids": 5}
    with open(os.devnull, "r+b", buffering=0) as null:
        stdio = (null.fileno(),) * 3
        with Container(Workload(**config), stdio=stdio) as container:
            container.start()
            assert container.stats()["memory"]["usage"]["limit"] == 64 * MIB
            assert container.stats()["pids"] == {"current": 1, "limit": 5}
            container.pause()
            assert container.cgroup.frozen
            container.resume()
            container.kill()
            result = container.wait()
    assert result is not None
    assert (result.reason, result.oom_kills) == ("killed", 0)


@pytest.mark.needs_podman
def test_podman_runs_and_limits_one(podman: Podman) -> None:  # noqa: F811
    limits = ["--memory", "32m", "--pids-limit", "9", "--cpus", "0.5"]
    answer = podman.run("--rm", *limits, "--", "/bin/sh", "-c", f"{SHOWS}; exit 3")
    if "no such file" in answer.stderr and "conmon" in answer.stderr:
        lacks("a podman that runs in here")
    assert answer.returncode == 3, answer.stderr
    assert answer.stdout.splitlines() == [str(32 * MIB), "9", "50000 100000"]
