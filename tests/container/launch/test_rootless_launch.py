"""What holds of a container that root makes holds of one that an ordinary user makes.

They are the same tests, twice: its root is the user, and there is no other; or a range of the
user's is mapped besides, by newuidmap. What takes root's rights is left out, each with the reason.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.launch import helper, launch
from ringlet.container.launch.description import Execution
from ringlet.container.launch.helper import Launched, LaunchError
from ringlet.container.spec.config_json import SpecError, check
from ringlet.container.state import HostProcess

from ...nested.needs import lacks
from ..box import Box, namespace
from ..rootfs import add_call
from ..user import FIRST, User, has_newuidmap, somebody  # noqa: F401
from .test_files import *  # noqa: F403
from .test_launch import *  # noqa: F403
from .test_privileges import *  # noqa: F403

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox]

# What takes rights of the host's root: no namespace without one of users, an idmapped mount, a
# device that isn't there, a cgroup, or that the test itself is root. Those of a user's are below.
del test_those_that_arent_named_are_the_hosts  # noqa: F821
del test_namespaces_are_joined_by_path  # noqa: F821
del test_on_a_host_that_shares_its_mounts_nothing_shows_there  # noqa: F821
del test_an_idmapped_mount  # noqa: F821
del test_a_root_that_is_idmapped_belongs_to_the_containers_root  # noqa: F821
del test_a_device_of_the_configuration  # noqa: F821
del test_a_user_namespace_with_all_rights_undoes_no_mount_of_the_hosts  # noqa: F821
del test_a_tmpfs_takes_no_device_from_a_file_system_without_devices  # noqa: F821
del test_a_writable_cgroup_belongs_to_the_containers_root  # noqa: F821
del test_a_device_of_the_image_is_none_where_no_rules_say_which_are  # noqa: F821
del test_device_rules_say_which_devices_of_the_image_are_some  # noqa: F821
del test_its_option_would_become_the_hosts  # noqa: F821

SETSID, PTRACE, SEIZE = 112, 101, 0x4206
FORBIDS_SETSID = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["setsid"], "action": "SCMP_ACT_ERRNO"}],
}

NEED_RANGES = (
    "test_ids_are_mapped",
    "test_one_more_process_is_where_the_others_are",
    "test_the_streams_belong_to_the_user",
    "test_a_file_that_the_streams_go_to_stays_its_owners",
    "test_what_has_a_name_on_the_host_stays_its_owners",
    "test_a_terminal_of_its_own_belongs_to_the_user",
    "test_user_groups_and_umask",
    "test_a_working_directory_that_only_root_gets_into",
    "test_five_sets_of_capabilities",
    "test_no_new_privileges_and_a_filter",
)


class UserBox(Box):
    """A container of the user's."""

    def __init__(self, folder: Path, maps: dict[str, Any]) -> None:
        super().__init__(folder)
        self.linux["namespaces"].append({"type": "user"})
        self.linux.update(maps)

    def new(self, *kinds: str) -> None:
        super().new(*(kind for kind in kinds if kind != "user"))


@pytest.fixture
def tmp_path(somebody: User) -> Path:  # noqa: F811
    return somebody.folder


@pytest.fixture
def box(request: pytest.FixtureRequest, somebody: User) -> Iterator[UserBox]:  # noqa: F811
    if request.param == "ranges" and not has_newuidmap():
        lacks("newuidmap and newgidmap: apt install uidmap")
    helper._helper_fd()  # the user may not be able to read it
    with somebody.acting():
        box = UserBox(somebody.folder, somebody.maps(ranges=request.param == "ranges"))
        yield box
        box.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "box" in metafunc.fixturenames:
        kinds = ["ranges"] if metafunc.function.__name__ in NEED_RANGES else ["one", "ranges"]
        metafunc.parametrize("box", kinds, indirect=True)


def test_a_namespace_of_the_users_is_joined_by_path(box: UserBox, tmp_path: Path) -> None:
    first = box.create("sleep 1000")
    inside = {kind: namespace(first.pid, kind) for kind in ("user", "uts", "ipc", "net")}
    (tmp_path / "two").mkdir()
    box.folder = tmp_path / "two"
    for key in ("uidMappings", "gidMappings"):
        del box.linux[key]
    box.linux["namespaces"] = [
        {"type": kind, "path": f"/proc/{first.pid}/ns/{name}"}
        for kind, name in (("user", "user"), ("uts", "uts"), ("ipc", "ipc"), ("network", "net"))
    ] + [{"type": "mount"}, {"type": "pid"}]
    script = "for i in user uts ipc net; do readlink /proc/self/ns/$i; done; id -u"
    assert box.run(script).split() == [*inside.values(), "0"]


def test_its_root_has_no_right_outside(box: UserBox) -> None:
    made = box.create("sleep 1000")
    box.start()
    status = Path(f"/proc/{made.pid}/status").read_text()
    assert f"\nUid:\t{box.outside(0)}\t" in status
    assert namespace(made.pid, "user") != namespace("self", "user")


def test_groups_of_the_user_stay_where_none_can_be_dropped(box: UserBox) -> None:
    alone = len(box.linux["gidMappings"]) == 1
    assert box.run("cat /proc/self/setgroups; id -G") == ("deny\n0\n" if alone else "allow\n0\n")


def test_an_idmapped_mount_is_refused(box: UserBox, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    box.mount("/data", source=str(tmp_path / "data"), options=["bind", "idmap"])
    assert "root" in box.fails("idmap").hint


def test_a_device_is_the_hosts_or_refused(box: UserBox) -> None:
    kmsg = os.stat("/dev/kmsg").st_rdev
    one = {"path": "/dev/kmsg", "type": "c", "major": os.major(kmsg), "minor": os.minor(kmsg)}
    box.linux["devices"] = [one, {"path": "/dev/fifo", "type": "p", "fileMode": 0o640}]
    printed = box.run("stat -c '%F %t %T' /dev/kmsg; stat -c '%F %a' /dev/fifo")
    assert printed == "character special file 1 b\nfifo 640\n"
    box.linux["devices"] = [{**one, "path": "/dev/absent"}]
    assert "no device can be made here" in box.fails("device").message
    box.linux["devices"] = [{**one, "path": "/dev/full"}]
    box.fails("device")


def test_sysfs_without_a_network_is_the_hosts_and_readonly(box: UserBox) -> None:
    box.linux["namespaces"] = [it for it in box.linux["namespaces"] if it["type"] != "network"]
    box.mount("/sys", type="sysfs", source="sysfs", options=["nosuid"])
    printed = box.run("ls /sys/class/net; awk '$5 ~ \"^/sys\" {print $6}' /proc/self/mountinfo")
    names, options = printed.split(), {*printed.split()[-1:]}
    assert set(os.listdir("/sys/class/net")) <= set(names)
    mounts = [word for word in names if "," in word]
    assert mounts
    assert all(word.startswith("ro,nosuid") for word in mounts), options


def test_cgroups_that_arent_its_own_cant_be_written(box: UserBox) -> None:
    """CVE-2023-25809 (runc): the user's own were writable without a cgroup namespace."""
    box.linux["namespaces"] = [it for it in box.linux["namespaces"] if it["type"] != "cgroup"]
    box.mount("/sys/fs/cgroup", type="cgroup", source="cgroup", options=["rw"])
    shown = "awk '$5 ~ \"^/sys/fs/cgroup\" {print $6}' /proc/self/mountinfo"
    mounts = box.run(f"! mkdir /sys/fs/cgroup/made 2> /dev/null && {shown}").split()
    assert mounts
    assert all(options.split(",")[0] == "ro" for options in mounts)


def test_what_belongs_to_another_namespace_is_refused(box: UserBox) -> None:
    box.linux["namespaces"] = [it for it in box.linux["namespaces"] if it["type"] != "ipc"]
    box.mount("/dev/mqueue", type="mqueue", source="mqueue")
    error = box.fails("filesystem")
    assert error.message == "filesystem /dev/mqueue: making mqueue: Operation not permitted"
    assert "ipc" in error.hint


def test_a_group_that_isnt_mapped_is_refused(box: UserBox) -> None:
    box.process["user"]["additionalGids"] = [70000]
    with pytest.raises(SpecError, match=r"additionalGids: 70000 is not mapped"):
        box.create()


def test_a_range_of_others_is_refused(box: UserBox) -> None:
    box.linux["uidMappings"] = [{"containerID": 0, "hostID": 0, "size": 10}]
    with pytest.raises(LaunchError, match="newuidmap: ") as caught:
        box.create()
    assert "/etc/subuid" in caught.value.hint
    box.left_nothing()


def test_without_newuidmap_there_is_a_hint(
    box: UserBox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    box.linux["uidMappings"] = [{"containerID": 0, "hostID": FIRST, "size": 10}]
    with pytest.raises(LaunchError, match="there is no newuidmap") as caught:
        box.create()
    assert caught.value.hint == "apt install uidmap"
    box.left_nothing()


def join(box: Box, made: Launched, script: str) -> int:
    """The status of one more process."""
    config = check(box.config)
    process = config["process"] | {"args": ["/bin/sh", "-c", script]}
    output = box.output.fileno()
    joined = launch.execute(Execution(
        HostProcess(made.pid), config, process, cgroup=None, stdio=(output, output, output)
    ))  # fmt: skip
    os.close(joined.pidfd)
    return os.waitstatus_to_exitcode(os.waitpid(joined.pid, 0)[1])


@pytest.mark.needs_gcc
def test_an_init_that_waits_has_its_filter(box: Box) -> None:
    """Also one that forbids a step of `exec`."""
    add_call(box.rootfs)
    box.linux["seccomp"] = FORBIDS_SETSID
    made = box.create("sleep 1000")
    assert "\nSeccomp:\t2\n" in Path(f"/proc/{made.pid}/status").read_text()
    # The process that joins is traced by nobody before it has the filter, either.
    assert join(box, made, f"call {PTRACE} {SEIZE} 1 0 0") == 0
    box.start()
    assert join(box, made, f"call {SETSID}") == errno.EPERM
