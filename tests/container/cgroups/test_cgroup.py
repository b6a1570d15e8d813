import json
import os
import select
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.cgroups import Cgroup, CgroupError, Cgroups

from .inside import PYTHON, folders, run, running, sleeper

pytestmark = pytest.mark.needs_cgroups

BOMB = "import os\nprint('ready', flush=True)\nwhile True:\n try: os.fork()\n except OSError: 0\n"


def test_it_comes_back_from_its_state(make_cgroup: Any) -> None:
    cgroup = make_cgroup({"pids": {"limit": 7}})
    again = Cgroup.load(json.loads(json.dumps(cgroup.to_state())))
    assert again.tasks == cgroup.tasks
    assert again.unified == cgroup.unified
    assert again.stats()["pids"] == {"current": 0, "limit": 7}
    again.delete()
    assert not folders(cgroup)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def test_frozen_it_does_nothing_and_thawed_it_goes_on(make_cgroup: Any) -> None:
    cgroup = make_cgroup()
    counter = "import sys\nprint('ready')\nwhile True: print('x', flush=True)"
    with running(cgroup, PYTHON, "-c", counter) as process:
        assert not cgroup.frozen
        cgroup.freeze()
        assert cgroup.frozen
        used = Path(f"/proc/{process.pid}/schedstat").read_text()
        cgroup.freeze()
        assert Path(f"/proc/{process.pid}/schedstat").read_text() == used
        cgroup.thaw()
        assert not cgroup.frozen
        assert process.stdout is not None
        for _ in range(100_000):
            assert process.stdout.readline() == "x\n"


@pytest.mark.parametrize("frozen", [False, True])
def test_kill_ends_every_process(make_cgroup: Any, frozen: bool, no_leak: None) -> None:
    cgroup = make_cgroup()
    with running(cgroup, *sleeper()) as one, running(cgroup, *sleeper()) as other:
        assert cgroup.processes() == sorted([one.pid, other.pid])
        if frozen:
            cgroup.freeze()
        cgroup.kill()
        assert one.wait(60) == other.wait(60) == -9
        assert cgroup.processes() == []


def test_a_signal_goes_to_those_that_are_still_there(
    make_cgroup: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks one may have ended, and its number be another's."""
    cgroup = make_cgroup()
    with running(cgroup, *sleeper()) as one, running(cgroup, *sleeper()) as other:
        looks = [[one.pid, other.pid], [other.pid]]
        monkeypatch.setattr(cgroup, "processes", lambda: looks.pop(0))
        assert cgroup.signal(signal.SIGTERM)
        monkeypatch.undo()
        assert other.wait(60) == -signal.SIGTERM
        assert cgroup.processes() == [one.pid]


@pytest.mark.parametrize("with_version_2", [True, False])
def test_kill_ends_a_fork_bomb(make_cgroup: Any, with_version_2: bool) -> None:
    cgroup = make_cgroup({"pids": {"limit": 100}})
    if not with_version_2:
        if not cgroup.version_1:
            pytest.skip("no cgroup version 1")
        os.rmdir(cgroup.unified)
        cgroup.unified = None
    with running(cgroup, PYTHON, "-Sc", BOMB):
        cgroup.kill()
        assert cgroup.processes() == []
    cgroup.delete()


@pytest.mark.needs_cgroups_v1
def test_what_the_container_has_frozen_itself_ends_too(make_cgroup: Any) -> None:
    cgroup = make_cgroup()
    folder = Path(cgroup.version_1["freezer"]) / "its/own"
    folder.mkdir(parents=True)
    with subprocess.Popen(["sleep", "1000"]) as process:
        for place in set(cgroup.version_1.values()):
            Path(place, "cgroup.procs").write_text(str(process.pid))
        Path(folder, "cgroup.procs").write_text(str(process.pid))
        (folder / "freezer.state").write_text("FROZEN")
        try:
            cgroup.kill()
        finally:
            (folder / "freezer.state").write_text("THAWED")
        assert process.wait(timeout=60) == -signal.SIGKILL


def test_processes_below_are_found_killed_and_their_cgroups_removed(make_cgroup: Any) -> None:
    cgroup = make_cgroup()
    for folder in folders(cgroup):
        os.makedirs(f"{folder}/a/b/c")
        os.mkdir(f"{folder}/a/d")
    inner = Cgroup.load(
        {
            "version_1": {it: f"{folder}/a/d" for it, folder in cgroup.version_1.items()},
            "unified": cgroup.unified and f"{cgroup.unified}/a/d",
            "parents": [],
            "may_lack": False,
        }
    )
    if "cpuset" in cgroup.version_1:
        for name in ("cpuset.cpus", "cpuset.mems"):
            for folder in ("a", "a/d"):
                Path(cgroup.version_1["cpuset"], folder, name).write_text("0")
    with running(inner, *sleeper()) as process:
        assert cgroup.processes() == [process.pid]
        assert cgroup.unified_of(process.pid) == inner.unified
        cgroup.kill()
        assert process.wait(60) == -9
    cgroup.delete()
    assert not folders(cgroup)
    cgroup.delete()
    assert cgroup.processes() == []
    cgroup.kill()


def make_below(cgroup: Cgroup, path: str) -> None:
    for folder in folders(cgroup):
        os.makedirs(f"{folder}/{path}")
        if folder == cgroup.version_1.get("cpuset"):
            for at in (
                path[:end] for end in range(1, len(path) + 1) if path[end:][:1] in ("", "/")
            ):
                for name in ("cpuset.cpus", "cpuset.mems"):
                    Path(folder, at, name).write_text("0")


def where(pid: int) -> set[str]:
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {line.split(":", 2)[2] for line in lines if "ringlet-test" in line}


@pytest.mark.parametrize("path", ["a/b", "/a//./b/"])
def test_a_path_below_is_of_every_hierarchy(make_cgroup: Any, path: str) -> None:
    cgroup = make_cgroup()
    make_below(cgroup, "a/b")
    with running(cgroup.below([path]), *sleeper()) as process:
        assert where(process.pid) == {"/ringlet-test0/a/b"}
    assert folders(cgroup.below(["/"])) == folders(cgroup)


@pytest.mark.needs_cgroups_v1
def test_a_path_below_of_some_controllers(make_cgroup: Any) -> None:
    cgroup = make_cgroup()
    make_below(cgroup, "a")
    found = cgroup.below(["pids,memory:/a", "cpu:a"])
    moved = {name for name, folder in found.version_1.items() if folder.endswith("0/a")}
    # What shares a hierarchy with one of them is moved with it.
    hierarchies = [set(it.controllers) for it in Cgroups.find().hierarchies]
    assert moved == set().union(*(it for it in hierarchies if it & {"pids", "memory", "cpu"}))
    assert found.unified == cgroup.unified


@pytest.mark.parametrize(
    "wanted",
    [
        ["../ringlet-test1"],
        [".."],
        ["a/.."],
        ["a/../../ringlet-test1"],
        ["/../.."],
        ["../ringlet-test0-sibling"],
        ["absent"],
        ["cgroup.procs"],
        ["a", "a"],
        ["a", "pids:a"],
        [":a"],
        ["pids,:a"],
        ["unknown:a"],
        ["pids:.."],
        ["pids:../ringlet-test1"],
        ["pids:a", "pids:/"],
        [""] * 2,
        ["a" * 5000],
    ],
)
def test_what_leads_out_or_nowhere_is_no_cgroup_below(make_cgroup: Any, wanted: list[str]) -> None:
    cgroup, _, _ = make_cgroup(), make_cgroup(), make_cgroup(path="/ringlet-test0-sibling")
    make_below(cgroup, "a")
    with pytest.raises(CgroupError, match=r"--cgroup|there is no cgroup"):
        cgroup.below(wanted)


def test_a_cgroup_below_that_is_frozen_takes_nobody(make_cgroup: Any) -> None:
    cgroup = make_cgroup()
    make_below(cgroup, "a/b")
    outer = cgroup.below(["a"])
    outer.freeze()
    for path in ("a", "a/b"):
        with pytest.raises(CgroupError, match=f"the cgroup .*/{path} is frozen"):
            cgroup.below([path])
    outer.thaw()
    cgroup.freeze()
    cgroup.below(["a"])  # of a paused container: `exec` has looked at that before
    cgroup.thaw()


def test_a_process_is_found_below_where_names_recur(make_cgroup: Any) -> None:
    cgroup = make_cgroup(path="/ringlet-test-c/c")
    make_below(cgroup, "c/c")
    try:
        with running(cgroup.below(["c/c"]), *sleeper()) as process:
            assert cgroup.unified_of(process.pid) == f"{cgroup.unified}/c/c"
            assert cgroup.below(["/"]).unified_of(process.pid) == cgroup.unified
        with running(cgroup, *sleeper()) as process:
            assert cgroup.unified_of(process.pid) == cgroup.unified
        assert cgroup.unified_of(os.getpid()) == cgroup.unified
    finally:
        cgroup.kill()
        cgroup.delete()


def test_delete_gives_up_while_a_process_stays(
    make_cgroup: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringlet.container.cgroups.cgroup._PATIENCE", 0.05)
    cgroup = make_cgroup()
    with (
        running(cgroup, *sleeper()) as process,
        pytest.raises(CgroupError, match=rf"has processes: \[{process.pid}\]"),
    ):
        cgroup.delete()


def test_a_descriptor_is_ready_when_memory_has_run_out(make_cgroup: Any, no_leak: None) -> None:
    cgroup = make_cgroup({"memory": {"limit": 32 << 20, "swap": 32 << 20}})
    fd = cgroup.oom_fd()
    assert fd is not None
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        assert not poll.poll(0)
        assert run(cgroup, PYTHON, "-Sc", "bytearray(b'x') * (64 << 20)").returncode == -9
        assert poll.poll(10_000)
        assert cgroup.oom_kills() == 1
        for _ in range(10):  # the kernel may tell of it more than once, a moment later
            os.read(fd, 4096)
            if not poll.poll(100):
                break
        else:
            pytest.fail("it is ready for ever")
    finally:
        os.close(fd)


def test_a_writable_cgroup_is_given_with_the_files_that_may_be(make_cgroup: Any) -> None:
    cgroup = make_cgroup()
    if cgroup.unified is None:
        pytest.skip("no cgroup version 2")
    cgroup.delegate(1234)
    owned = {it.name for it in Path(cgroup.unified).iterdir() if it.stat().st_uid == 1234}
    assert {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} <= owned
    assert not owned & {"cgroup.freeze", "cgroup.kill", "memory.max", "pids.max"}
    assert os.stat(cgroup.unified).st_uid == 1234
