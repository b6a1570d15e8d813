import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.container.cgroups import CgroupError, Cgroups
from ringlet.container.cgroups.find import check_path, find_hierarchies
from ringlet.container.cgroups.folders import Folders, Hierarchy

from .inside import folders, run, running, sleeper

V1 = "{id} 1 0:{id} {root} {mount} rw,nosuid shared:9 - cgroup cgroup rw,{options}\n"
V2 = "{id} 1 0:{id} {root} {mount} rw,nosuid shared:9 - cgroup2 cgroup rw,nsdelegate\n"
OTHER = "22 1 0:20 / /proc rw - proc proc rw\n23 1 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"


def found(mountinfo: str, cgroup: str) -> dict[tuple[str, ...], tuple[int, str, str]]:
    return {
        it.controllers: (it.version, it.mount, it.own) for it in find_hierarchies(mountinfo, cgroup)
    }


def test_pure_version_2() -> None:
    mounts = OTHER + V2.format(id=30, root="/", mount="/sys/fs/cgroup")
    assert found(mounts, "0::/user.slice/a\\x2db.scope\n") == {
        (): (2, "/sys/fs/cgroup", "/sys/fs/cgroup/user.slice/a\\x2db.scope")
    }


def test_controllers_that_share_a_hierarchy_and_one_with_a_name_beside_version_2() -> None:
    cg = "/sys/fs/cgroup"
    mounts = (
        V1.format(id=30, root="/", mount=f"{cg}/cpu,cpuacct", options="cpu,cpuacct")
        + V1.format(id=31, root="/", mount=f"{cg}/systemd", options="xattr,name=systemd")
        + V2.format(id=32, root="/", mount=f"{cg}/unified")
    )
    own = "5:cpu,cpuacct:/a\n4:pids:/a\n1:name=systemd:/b:c\n0::/b\n"
    assert found(mounts, own) == {
        ("cpu", "cpuacct"): (1, f"{cg}/cpu,cpuacct", f"{cg}/cpu,cpuacct/a"),
        ("name=systemd",): (1, f"{cg}/systemd", f"{cg}/systemd/b:c"),
        (): (2, f"{cg}/unified", f"{cg}/unified/b"),
    }


def test_a_mount_of_a_part_and_one_that_this_process_is_not_in() -> None:
    mounts = (
        V1.format(id=30, root="/other", mount="/x", options="pids")
        + V1.format(id=30, root="/docker/1", mount="/sys/fs/cgroup/my\\040pids", options="pids")
        + V2.format(id=31, root="/..", mount="/sys/fs/cgroup/unified")
    )
    assert found(mounts, "4:pids:/docker/1/sub\n0::/../../x\n") == {
        ("pids",): (1, "/sys/fs/cgroup/my pids", "/sys/fs/cgroup/my pids/sub"),
        (): (2, "/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified"),
    }


def test_a_cgroup_that_becomes_the_users_is_found(tmp_path: Path) -> None:
    own = tmp_path / "session/own"
    own.mkdir(parents=True)
    hierarchy = Hierarchy(2, (), str(tmp_path), str(own))
    assert hierarchy.place(None, "one") == f"{own.parent}/ringlet-one"
    (own / "cgroup.procs").touch()
    assert hierarchy.place(None, "one") == f"{own}/ringlet-one"


def test_no_cgroups_at_all() -> None:
    assert find_hierarchies(OTHER, "0::/\n") == []
    none = Cgroups([])
    cgroup = none.create(None, "x", {}, may_lack=True)
    assert not cgroup
    assert cgroup.notes == ["no cgroup: this host has no cgroups mounted"]
    assert (cgroup.tasks, cgroup.unified, cgroup.processes()) == ([], None, [])
    cgroup.kill()
    cgroup.delete()
    assert not cgroup.frozen
    assert cgroup.oom_kills() == 0
    assert cgroup.oom_fd() is None
    assert cgroup.stats()["pids"] == {}
    limits: Any = {"pids": {"limit": 5}}
    for resources, may_lack in ((limits, True), ({}, False)):
        with pytest.raises(CgroupError, match="no cgroups mounted"):
            none.create(None, "x", resources, may_lack=may_lack)
    with pytest.raises(CgroupError, match="has no freezer"):
        cgroup.freeze()
    with pytest.raises(CgroupError, match=r"linux.resources.pids \(pids.max 5\) can't be set"):
        cgroup.set(limits)


def test_where_a_path_leads() -> None:
    one = Hierarchy(1, ("pids",), "/cg/pids", "/cg/pids/own")
    two = Hierarchy(2, (), "/cg", "/cg/parent/own")
    assert one.place("/a//./b/", "x") == "/cg/pids/a/b"
    assert two.place("/a/b", "x") == "/cg/a/b"
    assert one.place("a/b", "x") == "/cg/pids/own/a/b"
    assert two.place("a/b", "x") == "/cg/parent/a/b"
    assert Hierarchy(2, (), "/cg", "/cg").place("a", "x") == "/cg/a"


@pytest.mark.parametrize("path", ["", "/", ".", "/./", "..", "/a/../b", "a/..", "/a\0", "/a\nb"])
def test_a_path_that_is_no_cgroup_of_its_own_is_refused(path: str) -> None:
    with pytest.raises(CgroupError, match=r"linux.cgroupsPath"):
        check_path(path)


@given(st.text(alphabet="./a\0\n", max_size=12))
def test_no_path_leads_out_of_its_hierarchy(path: str) -> None:
    try:
        check_path(path)
    except CgroupError:
        return
    for version in (1, 2):
        base = os.path.normpath(Hierarchy(version, (), "/cg", "/cg/p/own").place(path, "x"))
        assert base.startswith("/cg/")
        assert base not in ("/cg/p", "/cg/p/own")


@pytest.mark.needs_cgroups
def test_a_container_has_a_folder_in_every_hierarchy(make_cgroup: Any, no_leak: None) -> None:
    cgroup = make_cgroup()
    hierarchies = Cgroups.find().hierarchies
    assert folders(cgroup) == sorted(f"{it.mount}/ringlet-test0" for it in hierarchies)
    assert cgroup.notes == []
    own = run(cgroup, "/bin/cat", "/proc/self/cgroup").stdout.splitlines()
    assert all(it.endswith(":/ringlet-test0") for it in own if int(it.split(":")[0]) >= 0)


@pytest.mark.needs_cgroups
def test_a_path_is_made_and_all_of_it_removed(make_cgroup: Any) -> None:
    one = make_cgroup(path="/ringlet-test-parent/a/b")
    other = make_cgroup(path="/ringlet-test-parent/a/c")
    one.delete()
    assert folders(other)
    other.delete()
    one.delete()
    mounts = [it.mount for it in Cgroups.find().hierarchies]
    left = [it for it in mounts if os.path.exists(f"{it}/ringlet-test-parent")]
    for mount in left:  # made by the first, kept for the second
        os.rmdir(f"{mount}/ringlet-test-parent/a")
        os.rmdir(f"{mount}/ringlet-test-parent")
    assert not left


@pytest.mark.needs_cgroups
def test_a_relative_path_is_below_our_own_cgroup(make_cgroup: Any) -> None:
    cgroup = make_cgroup(path="ringlet-test-relative")
    for it in Cgroups.find().hierarchies:
        if it.version == 1:
            assert f"{it.own}/ringlet-test-relative" in folders(cgroup)


@pytest.mark.needs_cgroups
def test_a_cgroup_with_processes_is_refused_and_stays(make_cgroup: Any) -> None:
    cgroup = make_cgroup()
    with running(cgroup, *sleeper()):
        with pytest.raises(CgroupError, match="has processes"):
            Cgroups.find().create("/ringlet-test0", "x", {}, may_lack=False)
        assert len(cgroup.processes()) == 1


@pytest.mark.needs_cgroups
def test_a_limit_that_fails_leaves_no_folder(make_cgroup: Any, no_leak: None) -> None:
    for resources in (
        {"cpu": {"cpus": "4000"}},
        {"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]},
        {"unified": {"nothing.at.all": "1"}},
        {"devices": [{"allow": False, "type": "c", "major": 5000}]},
    ):
        with pytest.raises(CgroupError):
            make_cgroup(resources)
        with pytest.raises(CgroupError):
            make_cgroup(resources, path="/ringlet-test-parent/a")


@pytest.mark.needs_cgroups
def test_a_controller_that_is_missing_is_named(make_cgroup: Any) -> None:
    if any("net_cls" in it.controllers for it in Cgroups.find().hierarchies):
        pytest.skip("it is there")
    with pytest.raises(CgroupError, match=r"linux.resources.network .*no net_cls") as it:
        make_cgroup({"network": {"classID": 1}})
    assert "mount -t cgroup -o net_cls" in it.value.hint


@pytest.mark.needs_cgroups
@pytest.mark.parametrize("path", ["/cgroup.procs", "/cgroup.procs/x", "/x" * 3000])
def test_a_path_to_a_file_or_too_long_is_refused(
    make_cgroup: Any, no_leak: None, path: str
) -> None:
    with pytest.raises(CgroupError, match=r"can't be read|no cgroup can be made"):
        make_cgroup(path=path)


def test_a_path_of_any_depth_is_made(tmp_path: Path) -> None:
    folders = Folders()
    folder = str(tmp_path) + "/x" * 1800
    try:
        folders.make(Hierarchy(1, ("pids",), str(tmp_path), str(tmp_path)), folder, {})
        assert os.path.isdir(folder)
        folders.remove()
        assert os.listdir(tmp_path) == []
    finally:  # what is left is too deep for pytest to remove
        subprocess.run(["rm", "-rf", f"{tmp_path}/x"], check=True)


@pytest.mark.needs_cgroups
def test_the_cgroup_of_a_container_and_what_is_above_it_are_no_others(make_cgroup: Any) -> None:
    cgroup = make_cgroup(path="/ringlet-test-parent/a/b")
    with running(cgroup, *sleeper()):
        for path in ("", "/a", "/a/b", "/a/./b/"):
            with pytest.raises(CgroupError, match="has processes"):
                make_cgroup(path=f"/ringlet-test-parent{path}")
        assert len(cgroup.processes()) == 1
        assert all(os.path.exists(folder) for folder in folders(cgroup))


@pytest.mark.needs_cgroups
@pytest.mark.parametrize("below", ["", "/a", "/a/b"])
def test_nothing_is_made_in_a_frozen_cgroup(make_cgroup: Any, no_leak: None, below: str) -> None:
    frozen = make_cgroup()
    frozen.freeze()
    try:
        with pytest.raises(CgroupError, match="is frozen"):
            make_cgroup(path=f"/ringlet-test0{below}")
        assert all(os.listdir(it) and not os.path.exists(f"{it}/a") for it in folders(frozen))
    finally:
        frozen.thaw()
