"""Containers of a user whom root has given a cgroup, where limits hold, or none."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..container.test_rootless import Place, place  # noqa: F401
from ..container.user import User, somebody  # noqa: F401

pytestmark = [pytest.mark.needs_cgroups, pytest.mark.needs_busybox]

MIB = 1 << 20
FORKS = "for n in 1 2 3 4 5 6 7 8 9; do sleep 1 & done"
EATS = "head -c 64m /dev/zero | tail >/dev/null"
SPINS = "until grep -q 'nr_throttled [1-9]' /sys/fs/cgroup/cpu.stat; do :; done"
SHOWS = "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max /proc/self/cgroup; touch x"


@pytest.fixture
def delegated(somebody: User) -> Iterator[Path]:  # noqa: F811
    """The user's cgroup, and in it one for the user's own processes, as systemd has them."""
    controllers = " ".join(f"+{it}" for it in ("cpu", "memory", "pids"))
    Path("/sys/fs/cgroup/cgroup.subtree_control").write_text(controllers)
    folder = Path("/sys/fs/cgroup/ringlet-test-user")
    own = folder / "own"
    own.mkdir(parents=True)
    for part in (folder, own):
        for name in ("", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
            os.chown(part / name, somebody.uid, somebody.gid)
    somebody.cgroup = own
    yield folder
    assert [it.name for it in folder.iterdir() if it.is_dir()] == ["own"]
    own.rmdir()
    folder.rmdir()


def test_the_limits_of_a_configuration_bite(place: Place, delegated: Path) -> None:  # noqa: F811
    place.config["mounts"].append(
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
    )
    place.config["linux"]["resources"] = {
        "memory": {"limit": 16 * MIB, "swap": 16 * MIB},
        "pids": {"limit": 6},
        "cpu": {"quota": 20000, "period": 100000},
    }
    oom = "grep -w oom_kill /sys/fs/cgroup/memory.events"
    done = place.run(f"{SHOWS}; {EATS}; {oom}; {SPINS}; {FORKS}")
    lines = done.stdout.splitlines()
    assert lines[:4] == [str(16 * MIB), "6", "20000 100000", "0::/"], done.stderr
    assert lines[4].split()[0] == "oom_kill"
    assert int(lines[4].split()[1]) > 0
    assert "Read-only file system" in done.stderr
    assert "can't fork" in done.stderr


def test_a_container_is_held_changed_and_seen(place: Place, delegated: Path) -> None:  # noqa: F811
    place.write("exec sleep 1000")
    done = place.oci("run", "--detach", "--bundle", str(place.bundle), "one")
    assert done.returncode == 0, done.stderr
    folder = delegated / "ringlet-one"
    assert folder.stat().st_uid == place.user.uid
    assert place.oci("pause", "one").returncode == 0
    assert (folder / "cgroup.freeze").read_text() == "1\n"
    assert json.loads(place.oci("state", "one").stdout)["status"] == "paused"
    assert place.oci("resume", "one").returncode == 0
    done = place.oci("update", "--pids-limit", "9", "--memory", "32m", "one")
    assert done.returncode == 0, done.stderr
    stats = json.loads(place.oci("events", "--stats", "one").stdout)["data"]
    assert (stats["pids"]["limit"], stats["memory"]["usage"]["limit"]) == (9, 32 * MIB)
    done = place.oci("exec", "one", "/bin/cat", "/proc/self/cgroup")
    assert done.stdout == "0::/\n", done.stderr
    assert place.oci("delete", "--force", "one").returncode == 0
    assert not folder.exists()


def test_ringlet_run_has_limits(place: Place, delegated: Path) -> None:  # noqa: F811
    done = place.run_folder("--", "sh", "-c", SHOWS)
    assert done.stdout.split("\n")[:4] == ["max", "1024", "max 100000", "0::/"], done.stderr
    assert "no cgroup" not in done.stderr
    done = place.run_folder("--memory", "16M", "--cpus", "0.2", "--json", "--", "sh", "-c", EATS)
    report: Any = json.loads(done.stdout)
    assert report["oom_kills"] > 0, done.stderr


def test_without_a_cgroup_a_limit_is_an_error_and_a_default_a_note(place: Place) -> None:  # noqa: F811
    done = place.run_folder("--pids", "7", "--", "true")
    assert done.returncode == 125
    assert "the container can't have its limits: no cgroup can be made in /sys" in done.stderr
    assert "Delegate=yes" in done.stderr
    done = place.run_folder("--", "cat", "/sys/fs/cgroup/cgroup.controllers", "/proc/self/cgroup")
    assert done.returncode == 0, done.stderr
    assert "note: no cgroup: " in done.stderr
    assert done.stdout.endswith("0::/\n")


def test_without_a_cgroup_namespace_it_sees_the_hosts_cgroups(place: Place) -> None:  # noqa: F811
    linux = place.config["linux"]
    linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "cgroup"]
    place.config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup"})
    script = "ls /sys/fs/cgroup; awk '$5 == \"/sys/fs/cgroup\" {print $6}' /proc/self/mountinfo"
    done = place.run(script)
    *names, options = done.stdout.split()
    assert "cgroup.subtree_control" in names, done.stderr
    assert options.startswith("ro,")
