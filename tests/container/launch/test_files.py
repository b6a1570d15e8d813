"""What a container's root has in it: mounts, cgroups, masked paths and devices."""

import ctypes
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.launch import files
from ringlet.container.launch.helper import LaunchError
from ringlet.container.launch.plan import Plan
from ringlet.errors import ConfigError

from ..box import Box

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox]


# ---- Mounts ----


def test_the_root_of_the_host_is_gone(box: Box, tmp_path: Path) -> None:
    assert str(tmp_path) not in box.run("cat /proc/self/mountinfo | awk '{print $5}'")


@pytest.mark.parametrize("no_pivot", [False, True])
def test_its_root_is_the_bundles(box: Box, no_pivot: bool) -> None:
    (box.rootfs / "here").touch()
    assert "here" in box.run("ls /", no_pivot=no_pivot)


def test_a_root_is_readonly_without_what_is_mounted_in_it(box: Box) -> None:
    box.config["root"]["readonly"] = True
    script = "touch /a; touch /dev/a; awk '$5==\"/\" {print $6}' /proc/self/mountinfo"
    assert "ro" in box.run(script)
    assert not (box.rootfs / "a").exists()


def test_a_dev_that_is_read_only_has_its_devices(box: Box) -> None:
    for mount in box.config["mounts"]:
        if mount["destination"] == "/dev":
            mount["options"].append("ro")
    assert box.run("echo > /dev/null && test -L /dev/fd && ! touch /dev/a 2> /dev/null") == ""


def test_a_bind_shows_the_hosts_files(box: Box, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("here\n")
    box.mount("/new/place", source=str(tmp_path / "data"), options=["bind", "ro"])
    box.mount("/new/file", source=str(tmp_path / "data/file"), options=["bind"])
    assert box.run("cat /new/place/file /new/file; touch /new/place/x; true").startswith(
        "here\nhere\n"
    )
    assert not (tmp_path / "data/x").exists()


def test_a_recursive_attribute_holds_below(box: Box, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    box.mount("/outer", type="tmpfs", source="tmpfs", options=["rro", "noexec", "nodev"])
    box.mount("/data", source="/dev", options=["rbind", "rro", "rnosuid"])
    printed = box.run("awk '{print $5, $6}' /proc/self/mountinfo")
    lines = [line.split() for line in printed.splitlines()]
    assert all(
        {"ro", "nosuid"} <= set(words.split(",")) for path, words in lines if "/data" in path
    )
    assert {"ro", "noexec", "nodev"} <= set(dict(lines)["/outer"].split(","))


@pytest.mark.parametrize(
    ("option", "field"),
    [("rprivate", "-"), ("rslave", "-"), ("rshared", "shared:"), ("private", "-")],
)
def test_propagation(box: Box, tmp_path: Path, option: str, field: str) -> None:
    (tmp_path / "data").mkdir()
    box.mount("/data", source=str(tmp_path / "data"), options=["rbind", option])
    assert f" {field}" in box.run("grep ' /data ' /proc/self/mountinfo")


def test_propagation_of_the_root(box: Box) -> None:
    box.linux["rootfsPropagation"] = "shared"
    printed = box.run("awk '$5 == \"/\"' /proc/self/mountinfo")
    assert " shared:" in printed


@pytest.mark.needs_mount_namespace
def test_on_a_host_that_shares_its_mounts_nothing_shows_there(box: Box, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    box.mount("/data", source=str(tmp_path / "data"), options=["rbind"])
    box.linux["maskedPaths"] = ["/proc/keys"]
    box.process["capabilities"] = {
        name: ["CAP_SYS_ADMIN"] for name in ("bounding", "effective", "permitted")
    }
    child = os.fork()
    if child:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        return
    status = 1
    try:
        unshare_shared()
        before = mounted()
        made = box.create(
            "mount -t tmpfs none /data && mount -t tmpfs none /tmp &&"
            "mount --bind /etc/passwd /proc/keys && sleep 1000"
        )
        box.start()
        while " /proc/keys ext4" not in Path(f"/proc/{made.pid}/mounts").read_text():
            assert box.alive(made), box.printed()
        assert mounted() == before
        box.close()
        status = 0
    finally:
        os._exit(status)


def unshare_shared() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x20000) == 0
    assert libc.mount(None, b"/", None, 1 << 20 | 1 << 14, None) == 0


def mounted() -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


@pytest.mark.needs_mount_namespace
def test_a_user_namespace_with_all_rights_undoes_no_mount_of_the_hosts(
    box: Box, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    (data / "below").mkdir(parents=True)
    data.chmod(0o777)
    (data / "below/covered").touch()
    subprocess.run(["mount", "-t", "tmpfs", "cover", data / "below"], check=True)
    box.new("user")
    rights = ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]
    box.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), rights)
    options = ["rbind", "ro", "nosuid", "nodev", "noexec"]
    box.mount("/data", source=str(data), options=options)
    box.mount("/file", source="/etc/hostname", options=["bind", "ro"])
    try:
        printed = box.run(
            "mount -o remount,bind,rw,suid,dev,exec /data; touch /data/made; umount /data/below;"
            "ls /data/below; mount -o remount,bind,rw /file; grep ' /data ' /proc/mounts; true"
        )
    finally:
        subprocess.run(["umount", data / "below"], check=True)
    assert "covered" not in printed.splitlines()
    assert not (data / "made").exists()
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(printed.split()[-3].split(",")), printed
    assert printed.count("permission denied") == 2, printed
    assert "can't unmount" in printed


def test_a_tmpfs_takes_what_was_there(box: Box) -> None:
    (box.rootfs / "etc/folder").mkdir(mode=0o750)
    (box.rootfs / "etc/folder/link").symlink_to("../passwd")
    uid, gid = (5, 6) if os.geteuid() == 0 else (0, 0)
    os.chown(box.rootfs / "etc/group", box.outside(uid), -1 if uid == 0 else gid)
    (box.rootfs / "etc/group").chmod(0o4640)
    box.mount("/etc", type="tmpfs", source="tmpfs", options=["tmpcopyup", "ro"])
    printed = box.run(
        "stat -c '%a %u %g' /etc/group /etc/folder; readlink /etc/folder/link;"
        "head -n1 /etc/passwd; touch /etc/x || echo readonly"
    )
    assert printed.startswith(f"4640 {uid} {gid}\n750 0 0\n../passwd\nroot:x:0:0::/root:/bin/sh\n")
    assert printed.endswith("readonly\n")


def test_a_tmpfs_takes_nothing_of_the_kernels_that_a_link_leads_to(box: Box) -> None:
    (box.rootfs / "data").symlink_to("proc/self/net")
    box.mount("/data", type="tmpfs", source="tmpfs", options=["tmpcopyup"])
    assert "the kernel's" in box.fails("copyup").message


@pytest.mark.needs_mount_namespace
@pytest.mark.parametrize("nodev", [True, False])
def test_a_tmpfs_takes_no_device_from_a_file_system_without_devices(
    box: Box, tmp_path: Path, nodev: bool
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    os.mknod(data / "zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    box.mount("/etc", source=str(data), options=["bind", *(["nodev"] if nodev else [])])
    box.mount("/etc", type="tmpfs", source="tmpfs", options=["tmpcopyup"])
    assert box.run("ls /etc") == ("" if nodev else "zero\n")


def test_an_overlay(box: Box, tmp_path: Path) -> None:
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower/file").write_text("below\n")
    layers = [f"{name}dir={tmp_path / name}" for name in ("lower", "upper", "work")]
    box.mount("/data", type="overlay", source="overlay", options=layers)
    assert box.run("cat /data/file; echo over > /data/file") == "below\n"
    assert (tmp_path / "upper/file").read_text() == "over\n"
    assert (tmp_path / "lower/file").read_text() == "below\n"


def test_an_idmapped_mount(box: Box, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o777)
    (data / "file").touch()
    mapping = [{"containerID": 0, "hostID": 5000, "size": 10}]
    box.mount(
        "/data",
        source=str(data),
        options=["bind", "idmap"],
        uidMappings=mapping,
        gidMappings=mapping,
    )
    assert box.run("stat -c '%u %g' /data/file") == "5000 5000\n"


def test_a_root_that_is_idmapped_belongs_to_the_containers_root(box: Box) -> None:
    box.new("user")
    os.chown(box.rootfs, 0, 0)
    printed = box.run("stat -c %u /etc/passwd; touch /made", idmap_root=True)
    assert printed == "0\n"
    assert (box.rootfs / "made").stat().st_uid == 0


def test_a_link_in_the_image_never_leads_to_the_host(box: Box, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (box.rootfs / "out").symlink_to(secret)
    (box.rootfs / "up").symlink_to("../../../../../../../.." + str(secret))
    for destination in ("/out/a", "/up/b", "/out/../../../c"):
        box.mount(destination, type="tmpfs", source="tmpfs")
    box.run()
    assert list(secret.iterdir()) == []
    assert (box.rootfs / str(secret)[1:] / "a").is_dir()  # where the link leads in the container


def test_procfs_is_not_mounted_through_a_link(box: Box) -> None:
    (box.rootfs / "proc").rmdir()
    (box.rootfs / "proc").symlink_to("tmp")
    box.fails("attach")


def test_masked_and_readonly_paths(box: Box) -> None:
    box.linux["maskedPaths"] = ["/proc/keys", "/proc/timer_list", "/proc/scsi", "/etc", "/nowhere"]
    box.linux["readonlyPaths"] = ["/proc/sys", "/tmp", "/nowhere"]
    script = (
        "wc -c < /proc/keys; wc -c < /proc/timer_list; ls -A /etc;"
        "touch /tmp/x /etc/x; echo 1 > /proc/sys/net/ipv4/ip_forward; true"
    )
    printed = box.run(script)
    assert printed.startswith("0\n0\n")
    assert printed.count("Read-only file system") + printed.count("read-only") >= 2
    assert not (box.rootfs / "tmp/x").exists()


def test_a_masked_path_through_proc_is_masked_where_it_leads(box: Box) -> None:
    (box.rootfs / "etc/secret").write_text("secret")
    box.linux["maskedPaths"] = ["/proc/../etc/secret", "/proc//version"]
    assert box.run("cat /etc/secret /proc/version") == ""


def test_a_null_device_of_the_image_masks_nothing(box: Box) -> None:
    box.config["mounts"] = box.config["mounts"][:1]  # /dev is the image's
    (box.rootfs / "dev/null").symlink_to("/etc/passwd")
    box.linux["maskedPaths"] = ["/proc/keys"]
    with pytest.raises(LaunchError):  # there is something else in the place of the device
        box.create()
    box.left_nothing()


def test_the_containers_cgroups(box: Box, cgroup: Any) -> None:
    box.mount("/sys/fs/cgroup", type="cgroup", source="cgroup", options=["ro", "nosuid"])
    box.config["mounts"].insert(3, {"destination": "/sys", "type": "tmpfs"})
    made = box.create(
        "cat /proc/self/cgroup; find /sys/fs/cgroup -name cgroup.procs", cgroup=cgroup
    )
    for line in Path(f"/proc/{made.pid}/cgroup").read_text().splitlines():
        assert "ringlet-launch" in line or cgroup.version_1.get(line.split(":")[1]) is None
    box.start()
    assert box.wait(made) == 0
    assert "ringlet-launch" not in box.printed()  # its cgroup namespace begins there


@pytest.mark.needs_cgroups
@pytest.mark.parametrize("option", ["ro", "rro", "rw"])
def test_a_writable_cgroup_belongs_to_the_containers_root(
    box: Box, cgroup: Any, option: str
) -> None:
    if cgroup.unified is None:
        pytest.skip("this host has no cgroup of version 2")
    box.new("user")
    box.config["mounts"] = [
        mount for mount in box.config["mounts"] if mount.get("type") != "cgroup"
    ] + [{"destination": "/cgroup", "type": "cgroup", "options": [option]}]
    made = box.create("true", cgroup=cgroup)
    assert os.stat(cgroup.unified).st_uid == (100000 if option == "rw" else 0)
    box.start()
    assert box.wait(made) == 0


def options_of_cgroups(box: Box, cgroup: Any, kind: str, options: list[str]) -> list[set[str]]:
    """Those of the mounts at and below /cgroup, propagation among them."""
    box.config["mounts"] = [
        mount for mount in box.config["mounts"] if mount.get("type") != "cgroup"
    ] + [{"destination": "/cgroup", "type": kind, "options": options}]
    made = box.create("grep ' /cgroup' /proc/self/mountinfo", cgroup=cgroup)
    box.start()
    assert box.wait(made) == 0
    lines = [line.split(" ") for line in box.printed().splitlines()]
    assert lines
    return [set(fields[5].split(",")) | {fields[6].partition(":")[0]} for fields in lines]


@pytest.mark.needs_cgroups
@pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
@pytest.mark.parametrize("own", [True, False])
def test_options_of_cgroups_are_applied_to_each(
    box: Box, cgroup: Any, kind: str, own: bool
) -> None:
    if kind == "cgroup2" and cgroup.unified is None:
        pytest.skip("this host has no cgroup of version 2")
    if not own:
        box.linux["namespaces"].remove({"type": "cgroup"})
    for one in options_of_cgroups(box, cgroup, kind, ["rro", "rnosuid", "rshared"]):
        assert {"ro", "nosuid", "shared"} <= one


@pytest.mark.needs_cgroups
@pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
@pytest.mark.parametrize("option", ["nsdelegate", "memory", "release_agent=/x", "tmpcopyup", "a"])
def test_an_option_that_cgroups_have_not_or_that_is_the_hosts_is_refused(
    box: Box, cgroup: Any, kind: str, option: str
) -> None:
    with pytest.raises(ConfigError, match=f"^mounts: /cgroup: {option} is no option of cgroups"):
        options_of_cgroups(box, cgroup, kind, ["ro", option])
    box.left_nothing()


@pytest.mark.needs_cgroups
def test_a_mount_of_version_2_without_a_namespace_is_of_the_containers_cgroup(
    box: Box, cgroup: Any
) -> None:
    if cgroup.unified is None:
        pytest.skip("this host has no cgroup of version 2")
    box.linux["namespaces"].remove({"type": "cgroup"})
    box.mount("/cgroup", type="cgroup2", options=["rw"])
    made = box.create("grep ' /cgroup ' /proc/self/mountinfo", cgroup=cgroup)
    box.start()
    assert box.wait(made) == 0
    assert box.printed().split(" ")[3].endswith(f"/{os.path.basename(cgroup.unified)}")


# ---- File systems of which there is one ----


@pytest.mark.parametrize(
    ("kind", "option"),
    [("debugfs", "mode=0755"), ("devtmpfs", "size=1"), ("pstore", "kmsg_bytes=1")],
)
def test_an_option_that_would_be_the_hosts_is_refused(box: Box, kind: str, option: str) -> None:
    box.mount("/here", type=kind, source=kind, options=["nosuid", option])
    with pytest.raises(
        ConfigError, match=f"^mounts: /here: {option} would be .* the host's {kind}"
    ):
        box.create("true")
    box.left_nothing()


@pytest.mark.parametrize("kind", ["devtmpfs", "debugfs", "tmpfs", "ext4"])
def test_read_only_is_the_mount_or_the_file_system_where_it_has_a_disk(
    box: Box, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    added: list[tuple[object, ...]] = []
    monkeypatch.setattr(Plan, "add", lambda self, *words: added.append(words))
    mount: Any = {"destination": "/here", "type": kind, "options": ["ro", "nosuid"]}
    files._add_mount(Plan(), mount, files._Options(mount["options"]), 7, "")
    data = ("ro",) if kind == "ext4" else ()
    assert ("filesystem", "/here", 7, kind, kind, 2, *data) in added
    assert ("attributes", "/here", 7, 0, 1, 0, 0) in added


@pytest.fixture
def debugfs(tmp_path: Path) -> Iterator[Path]:
    """The host's, of which a container may only take the right to write."""
    if "\tdebugfs\n" not in Path("/proc/filesystems").read_text():
        pytest.skip("this kernel has no debugfs")
    folder = tmp_path / "debugfs"
    folder.mkdir()
    subprocess.run(["mount", "-t", "debugfs", "none", folder], check=True)
    mode = stat.S_IMODE(folder.stat().st_mode)
    yield folder
    folder.chmod(mode)
    subprocess.run(["umount", folder], check=True)


@pytest.mark.needs_mount_namespace
def test_its_option_would_become_the_hosts(
    box: Box, debugfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_SINGLE", ())
    box.mount("/here", type="debugfs", source="debugfs", options=["mode=0500"])
    box.run("true")
    assert stat.S_IMODE(debugfs.stat().st_mode) == 0o500


# ---- Devices ----


@pytest.mark.parametrize("user", [False, True])
def test_the_default_devices(box: Box, user: bool) -> None:
    if user:
        box.new("user")
    printed = box.run("cd /dev; stat -c '%n %F %t %T' null zero full random urandom tty")
    assert [
        line.split()[0] + " " + " ".join(line.split()[-2:]) for line in printed.splitlines()
    ] == [
        "null 1 3",
        "zero 1 5",
        "full 1 7",
        "random 1 8",
        "urandom 1 9",
        "tty 5 0",
    ]
    links = box.rootfs  # a mount covers it: nothing of all that is in the image
    assert list((links / "dev").iterdir()) == []


def test_a_device_of_the_configuration(box: Box) -> None:
    box.linux["devices"] = [
        {
            "path": "/dev/deep/one",
            "type": "c",
            "major": 1,
            "minor": 300,
            "fileMode": 0o640,
            "uid": 3,
            "gid": 4,
        },
        {"path": "/dev/fifo", "type": "p"},
    ]
    printed = box.run("stat -c '%F %a %u %g %t %T' /dev/deep/one; stat -c %F /dev/fifo")
    assert printed == "character special file 640 3 4 1 12c\nfifo\n"


def test_the_links_in_dev(box: Box) -> None:
    printed = box.run("cd /dev; for i in fd stdin stdout stderr ptmx; do readlink $i; done")
    assert printed.split() == [
        "/proc/self/fd",
        "/proc/self/fd/0",
        "/proc/self/fd/1",
        "/proc/self/fd/2",
        "pts/ptmx",
    ]


def run_with_a_device_of_the_image(box: Box, **more: Any) -> str:
    """A node of the null device in the root; a node of the disk would be as easy to have."""
    os.mknod(box.rootfs / "node", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (box.rootfs / "node").chmod(0o666)
    return box.run("(: > /node) 2> /tmp/why && echo open; : > /dev/null && echo fine", **more)


def test_a_device_of_the_image_is_none_where_no_rules_say_which_are(box: Box) -> None:
    """`--rootless true` of the host's root, where no cgroup can be made."""
    assert run_with_a_device_of_the_image(box) == "fine\n"


@pytest.mark.needs_cgroups
def test_device_rules_say_which_devices_of_the_image_are_some(box: Box, cgroup: Any) -> None:
    assert cgroup.rules_devices
    assert run_with_a_device_of_the_image(box, cgroup=cgroup) == "open\nfine\n"


def test_a_root_that_is_a_link_is_refused(box: Box) -> None:
    """Whoever may swap the root for a link would have the container see any folder of the host."""
    os.symlink("/", box.bundle / "link")
    box.config["root"]["path"] = "link"
    error = box.fails("bind")
    assert "Too many levels of symbolic links" in str(error)


def test_without_a_mount_namespace_a_root_that_is_a_link_is_refused_too(box: Box) -> None:
    os.symlink("/", box.bundle / "link")
    box.config["root"]["path"] = "link"
    box.config["mounts"] = []
    box.linux["namespaces"] = [one for one in box.linux["namespaces"] if one["type"] != "mount"]
    error = box.fails("chroot")
    assert "Too many levels of symbolic links" in str(error)


@pytest.mark.parametrize("kinds", [(), ("user",)], ids=str)
def test_a_root_that_becomes_a_link_covers_nothing_of_the_host(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, ...]
) -> None:
    """Mounted over /usr in there, it would be whose programs the createContainer hooks run."""
    add = Plan.add
    (tmp_path / "link").symlink_to(tmp_path)

    def add_after_the_swap(plan: Plan, step: str, what: object = "", *words: object) -> None:
        add(plan, step, tmp_path / "link" if step in ("park", "root") else what, *words)

    monkeypatch.setattr(Plan, "add", add_after_the_swap)
    box.new(*kinds)
    error = box.fails("park" if kinds and os.geteuid() == 0 else "root")
    assert "Too many levels of symbolic links" in str(error)


def test_the_way_to_a_root_may_have_links(box: Box) -> None:
    os.symlink(box.bundle, box.folder.parent / "way")
    box.config["root"]["path"] = str(box.folder.parent / "way/rootfs")
    assert box.run("echo fine") == "fine\n"
