"""What is the host's stays as it is: its /dev, its files' modes, its namespaces.

The host here is a folder; a container may change its root, and nothing that is mounted in it.
"""

import contextlib
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.launch.helper import LaunchError
from ringlet.container.spec.config_json import SpecError

from .box import Box, namespace
from .test_attack_races import exchanging

pytestmark = [pytest.mark.needs_mount_namespace, pytest.mark.needs_busybox]

ROUNDS = 100


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    """In place of the host's /dev: its devices have modes that no container would give them."""
    dev = tmp_path / "dev"
    dev.mkdir()
    for name, minor in (("null", 3), ("zero", 5)):
        os.mknod(dev / name, stat.S_IFCHR, os.makedev(1, minor))
        (dev / name).chmod(0o640)
        os.chown(dev / name, 0, 7)
    (dev / "ptmx").write_text("the host's")
    (dev / "pts").mkdir()
    return dev


def look(folder: Path) -> dict[str, Any]:
    found = {}
    for path in sorted(folder.iterdir()):
        status = path.lstat()
        found[path.name] = (status.st_mode, status.st_uid, status.st_gid, status.st_rdev)
    return found


def show(box: Box, destination: str, dev: Path) -> None:
    mounts = [one for one in box.config["mounts"] if one["destination"] != "/dev/pts"]
    box.config["mounts"] = mounts
    box.mount(destination, type="bind", source=str(dev), options=["rbind"])


@pytest.mark.parametrize(
    "destination", ["/dev", "/dev/", "/dev/.", "/./dev", "/tmp/../dev", "//dev", "dev", "/link"]
)
@pytest.mark.parametrize("over_tmpfs", [True, False])
def test_a_dev_of_the_hosts_is_not_made_the_containers(
    box: Box, dev: Path, destination: str, over_tmpfs: bool
) -> None:
    if not over_tmpfs:
        box.config["mounts"] = [
            one for one in box.config["mounts"] if not one["destination"].startswith("/dev")
        ]
    (box.rootfs / "link").symlink_to("dev")
    show(box, destination, dev)
    before = look(dev)
    box.run("true")
    assert look(dev) == before
    assert (dev / "ptmx").read_text() == "the host's"


def test_a_device_that_is_bound_keeps_its_mode(box: Box, dev: Path) -> None:
    box.config["mounts"] = [one for one in box.config["mounts"] if one["type"] == "proc"]
    box.mount("//dev//null", type="bind", source=str(dev / "null"), options=["bind"])
    before = look(dev)
    box.run("true")
    assert look(dev) == before


def test_what_covers_a_masked_file_keeps_its_mode(box: Box) -> None:
    """It is the host's null device, and the container's root its owner."""
    before = os.stat("/dev/null").st_mode
    box.linux["maskedPaths"] = ["/proc/keys"]
    made = box.create(
        "chmod 600 /proc/keys; echo > /proc/keys && cat /proc/keys && ls -l /proc/keys"
    )
    box.start()
    assert box.wait(made) == 0
    assert "Read-only file system" in box.printed()
    assert os.stat("/dev/null").st_mode == before


def test_a_device_of_the_configurations_is_not_made_on_the_host(box: Box, dev: Path) -> None:
    show(box, "/out", dev)
    before = look(dev)
    device = {"path": "/out/./more/node", "type": "c", "major": 1, "minor": 3}
    box.linux["devices"] = [device]
    assert "mounted from the host" in box.fails("device").message
    assert look(dev) == before
    device["path"] = "/out/null"  # what is there is as good, and stays as it is
    device["fileMode"] = 0o666
    box.run("test -c /out/null")
    assert look(dev) == before


def test_the_mode_of_what_a_device_becomes_stays(box: Box, tmp_path: Path) -> None:
    """A folder of the root that others can write: the device is a link by the time of chmod."""
    file = tmp_path / "file"
    file.write_text("the host's")
    file.chmod(0o600)
    folder = box.rootfs / "shared"
    folder.mkdir()
    os.mkfifo(folder / "node")
    (folder / "link").symlink_to(file)
    inside = box.rootfs / str(file)[1:]
    inside.parent.mkdir(parents=True)
    shutil.copy(file, inside)
    box.linux["devices"] = [{"path": "/shared/node", "type": "p", "fileMode": 0o4777}]
    with exchanging(folder / "node", folder / "link"):
        for _ in range(ROUNDS):
            with contextlib.suppress(LaunchError):
                made = box.create()
                os.kill(made.pid, 9)
                box.wait(made)
                box.forget()
            assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_chmod_by_name_would_change_it(tmp_path: Path) -> None:
    file, node, link = tmp_path / "file", tmp_path / "node", tmp_path / "link"
    file.write_text("the host's")
    file.chmod(0o600)
    os.mkfifo(node)
    link.symlink_to(file)
    with exchanging(node, link):
        for _ in range(100 * ROUNDS):
            node.chmod(0o4777)
            if stat.S_IMODE(file.stat().st_mode) != 0o600:
                break
    assert stat.S_IMODE(file.stat().st_mode) == 0o4777


def test_a_path_that_is_too_long_makes_no_folder(box: Box) -> None:
    box.mount("/a" * 3000, type="tmpfs")
    assert "too long" in box.fails("attach").message
    assert not (box.rootfs / "a").exists()


@pytest.mark.parametrize("step", ["readonlyPaths", "maskedPaths"])
@pytest.mark.parametrize("path", ["/", "/link", "/tmp/.."])
def test_the_root_itself_is_no_path_to_protect(box: Box, step: str, path: str) -> None:
    """It would be covered beside the process's root, and seem to be protected."""
    (box.rootfs / "link").symlink_to("/")
    box.linux[step] = [path]
    assert "root" in box.fails(step.removesuffix("Paths").replace("masked", "mask")).message


@pytest.mark.parametrize("kind", ["tmpfs", "bind", "cgroup"])
@pytest.mark.parametrize("path", ["/", "/link", "/tmp/../", "/./"])
def test_no_mount_lies_over_the_root(box: Box, kind: str, path: str) -> None:
    """A process that `exec` sends in would be in there, where nothing is masked."""
    (box.rootfs / "link").symlink_to("/")
    source = {"source": str(box.rootfs), "options": ["rbind"]} if kind == "bind" else {}
    box.mount(path, type=kind, **source)
    assert "root itself" in box.fails("attach").message


# ---- Mount namespaces ----


def in_a_namespace(folder: Path) -> "subprocess.Popen[bytes]":
    """A process in a mount namespace of its own, which has `folder` as a mount."""
    script = f"mount --bind {folder} {folder} && echo ready && read line"
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_a_mount_namespace_that_is_joined_stays_as_it_is(box: Box, tmp_path: Path) -> None:
    with in_a_namespace(tmp_path) as other:
        mounts = Path(f"/proc/{other.pid}/mountinfo")
        root = os.stat(f"/proc/{other.pid}/root")
        before = mounts.read_text()
        path = f"/proc/{other.pid}/ns/mnt"
        box.linux["namespaces"] = [
            one | {"path": path} if one["type"] == "mount" else one
            for one in box.linux["namespaces"]
        ]
        made = box.create("ls /")
        box.start()
        assert box.wait(made) == 0
        assert "bin" in box.printed().split()
        assert mounts.read_text() == before
        assert os.path.samestat(os.stat(f"/proc/{other.pid}/root"), root)
        other.communicate(b"\n")


def without_a_mount_namespace(box: Box) -> None:
    box.config["mounts"] = []
    box.linux["namespaces"] = [{"type": "pid"}, {"type": "uts"}]


def test_without_a_mount_namespace_it_has_its_starters(box: Box) -> None:
    without_a_mount_namespace(box)
    before = Path("/proc/self/mountinfo").read_text()
    made = box.create("ls /; sleep 100")
    assert namespace(made.pid, "mnt") == namespace("self", "mnt")
    box.start()
    assert os.path.samestat(os.stat(f"/proc/{made.pid}/root"), box.rootfs.stat())
    assert Path("/proc/self/mountinfo").read_text() == before
    assert not list((box.rootfs / "dev").iterdir())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mounts", [{"destination": "/a", "type": "tmpfs"}]),
        ("linux.maskedPaths", ["/proc/keys"]),
        ("linux.readonlyPaths", ["/proc"]),
        ("linux.rootfsPropagation", "rshared"),
        ("linux.devices", [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}]),
        ("root.readonly", True),
        ("process.terminal", True),
        ("process.capabilities", {"bounding": ["CAP_SYS_CHROOT"]}),
        ("process.capabilities", {"ambient": ["CAP_SYS_ADMIN"]}),
    ],
)
def test_without_one_what_would_change_the_hosts_is_refused_by_name(
    box: Box, name: str, value: Any
) -> None:
    without_a_mount_namespace(box)
    first, _, rest = name.partition(".")
    if rest:
        box.config[first][rest] = value
    else:
        box.config[first] = value
    with pytest.raises(SpecError, match=name.replace(".", r"\.")):
        box.create()
