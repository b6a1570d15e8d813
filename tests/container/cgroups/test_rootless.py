"""As a user whom root gave a version 2 cgroup, or none."""

import importlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.cgroups import CgroupError, Cgroups

from .inside import run

# The user may not be able to read what is imported only when it's needed.
for module in ("bpf", "device_filter", "devices", "stats", "v2"):
    importlib.import_module(f"ringlet.container.cgroups.{module}")

pytestmark = pytest.mark.needs_cgroups

USER = 54321


@pytest.fixture
def delegated() -> Iterator[Path]:
    """A cgroup of the user's, with one for the user's own processes."""
    mounts = [it.mount for it in Cgroups.find().hierarchies if it.version == 2]
    if not mounts:
        pytest.skip("no cgroup version 2")
    for controller in Path(mounts[0], "cgroup.controllers").read_text().split():
        Path(mounts[0], "cgroup.subtree_control").write_text(f"+{controller}")
    folder = Path(mounts[0], "ringlet-test-delegated")
    own = folder / "own"
    own.mkdir(parents=True)
    for part in (folder, own):
        for name in ("", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
            os.chown(part / name, USER, USER)
    yield folder
    assert sorted(it.name for it in folder.iterdir() if it.is_dir()) == ["own"]
    own.rmdir()
    folder.rmdir()


def as_user(cgroup: Path | None, work: Callable[[], object]) -> Any:
    """What `work` returns, done by the user, in that cgroup."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if cgroup is not None:
                (cgroup / "cgroup.procs").write_text("0")
            os.setgroups([])
            os.setgid(USER)
            os.setuid(USER)
            try:
                result = work()
            except CgroupError as error:
                result = f"{error.message} | {error.hint}"
            os.write(into, json.dumps(result).encode())
        finally:
            os._exit(0)
    os.close(into)
    with open(out) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return json.loads(text)


def limits() -> Any:
    """Those that the user's version 2 cgroup can have."""
    own = [it for it in Cgroups.find().hierarchies if it.version == 2]
    here = Path(own[0].mount, "cgroup.controllers").read_text().split()
    return {"pids": {"limit": 5}, "memory": {"limit": 64 << 20}} if "pids" in here else {}


def test_a_delegated_cgroup_is_used_with_its_limits(delegated: Path) -> None:
    def work() -> object:
        resources = {**limits(), "devices": [{"allow": False, "access": "rwm"}]}
        cgroup = Cgroups.find().create(None, "x", resources, may_lack=True)
        listed = run(cgroup, "/bin/cat", "/proc/self/cgroup").stdout
        frozen = [cgroup.freeze(), cgroup.frozen, cgroup.thaw()][1]
        pids = cgroup.stats()["pids"].get("limit")
        cgroup.kill()
        cgroup.delete()
        return [cgroup.unified, listed, frozen, pids, cgroup.notes]

    unified, listed, frozen, pids, notes = as_user(delegated / "own", work)
    assert unified == f"{delegated}/ringlet-x"
    assert f"0::/{delegated.name}/ringlet-x\n" in listed
    assert frozen is True
    assert pids == limits().get("pids", {"limit": 0})["limit"]
    # Only root may load a filter.
    assert any("devices" in note or "device rules" in note for note in notes)


def test_beside_processes_no_cgroup_has_limits_and_the_error_says_so(delegated: Path) -> None:
    if not limits():
        pytest.skip("version 2 has no limits here")

    def work() -> object:
        Cgroups.find().create(None, "x", limits(), may_lack=True)
        return None

    error = as_user(delegated, work)
    assert error.startswith("linux.resources.pids (pids.max 5) can't be set: ")
    assert f"{delegated} has processes" in error
    assert (delegated / "cgroup.type").read_text() == "domain\n"  # not made a threaded one

    def without() -> object:
        cgroup = Cgroups.find().create(None, "x", {}, may_lack=True)
        cgroup.delete()
        return cgroup.unified

    assert as_user(delegated, without) == f"{delegated}/ringlet-x"


@pytest.mark.parametrize("path", [None, "/ringlet-test-path/x", "ringlet-test-path"])
def test_without_rights_there_is_no_cgroup_but_a_note(path: str | None) -> None:
    def work() -> object:
        cgroup = Cgroups.find().create(path, "x", {}, may_lack=True)
        return [bool(cgroup), cgroup.notes]

    there, notes = as_user(None, work)
    assert not there
    assert len(notes) == 1
    assert notes[0].startswith("no cgroup: no cgroup can be made in /sys/fs/cgroup")
    assert "Permission denied" in notes[0]


@pytest.mark.parametrize(("resources", "may_lack"), [({"pids": {"limit": 5}}, True), ({}, False)])
def test_without_rights_a_limit_is_an_error(resources: Any, may_lack: bool) -> None:
    def work() -> object:
        Cgroups.find().create(None, "x", resources, may_lack=may_lack)
        return None

    assert "the container can't have its limits" in as_user(None, work)
    assert "Delegate=yes" in as_user(None, work)
