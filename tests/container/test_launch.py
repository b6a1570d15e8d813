"""Containers, from clone to exec: each field, as seen from inside and from outside."""

import array
import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import tempfile
import termios
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringlet.container import launch, plan
from ringlet.container.launch import Launched, LaunchError
from ringlet.container.spec import check

from .rootfs import make_rootfs

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox]

KINDS = ("mount", "uts", "ipc", "pid", "network", "cgroup")
MAPS: Any = {
    "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
    "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
}


class Box:
    """A container to be: its bundle and configuration, and what it prints."""

    def __init__(self, folder: Path) -> None:
        self.bundle = folder / "bundle"
        self.folder = folder / "one"
        self.folder.mkdir()
        self.rootfs = make_rootfs(self.bundle / "rootfs")
        self.output = tempfile.TemporaryFile()  # noqa: SIM115
        self.running: list[Launched] = []
        self.config: Any = {
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "process": {
                "cwd": "/",
                "user": {"uid": 0, "gid": 0},
                "args": ["/bin/true"],
                "env": ["PATH=/bin"],
                "capabilities": {},
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "options": ["nosuid", "mode=755"]},
                {
                    "destination": "/dev/pts",
                    "type": "devpts",
                    "options": ["newinstance", "ptmxmode=0666", "mode=0620"],
                },
            ],
            "linux": {"namespaces": [{"type": kind} for kind in KINDS]},
        }

    @property
    def process(self) -> Any:
        return self.config["process"]

    @property
    def linux(self) -> Any:
        return self.config["linux"]

    def mount(self, destination: str, **more: Any) -> None:
        self.config["mounts"].append({"destination": destination} | more)

    def new(self, *kinds: str) -> None:
        self.linux["namespaces"] += [{"type": kind} for kind in kinds]
        if "user" in kinds:
            self.linux.update(MAPS)
            os.chown(self.rootfs, 100000, 100000)

    def create(self, script: str | None = None, **more: Any) -> Launched:
        if script is not None:
            self.process["args"] = ["/bin/sh", "-c", script]
        null = os.open("/dev/null", os.O_RDONLY)
        arguments: dict[str, Any] = {
            "cgroup": None,
            "folder": str(self.folder),
            "on_runtime": lambda pid: None,
            "stdio": (null, self.output.fileno(), self.output.fileno()),
        }
        try:
            config = check(self.config)
            made = launch.create(config, str(self.bundle), **(arguments | more))
        finally:
            os.close(null)
        self.running.append(made)
        return made

    def start(self) -> None:
        launch.start(str(self.folder))

    def wait(self, made: Launched) -> int:
        self.running.remove(made)
        os.close(made.pidfd)
        return os.waitstatus_to_exitcode(os.waitpid(made.pid, 0)[1])

    def alive(self, made: Launched) -> bool:
        return not select.select([made.pidfd], [], [], 0.01)[0]

    def printed(self) -> str:
        self.output.seek(0)
        text = self.output.read().decode()
        self.output.seek(0)
        self.output.truncate()
        return text

    def run(self, script: str | None = None, **more: Any) -> str:
        """What it prints; its status has to be 0."""
        made = self.create(script, **more)
        self.start()
        status = self.wait(made)
        printed = self.printed()
        assert status == 0, printed
        return printed

    def fails(self, step: str, **more: Any) -> LaunchError:
        """The error of `step`, and nothing is left."""
        with pytest.raises(LaunchError) as caught:
            self.create(**more)
        assert caught.value.step == step, caught.value.message
        self.left_nothing()
        return caught.value

    def left_nothing(self) -> None:
        assert list(self.folder.iterdir()) == []
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        assert str(self.bundle) not in Path("/proc/self/mountinfo").read_text()

    def close(self) -> None:
        # The last one first: process 1 of a namespace is gone only after all others in it.
        for made in reversed(self.running.copy()):
            os.kill(made.pid, signal.SIGKILL)
            self.wait(made)
        self.output.close()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = Box(tmp_path)
    yield box
    box.close()


def namespace(pid: int | str, name: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{name}")


# ---- Its life ----


def test_a_container_waits_until_it_is_started(box: Box, held: Any) -> None:
    launch._helper_fd()  # is kept
    before = held().descriptors
    made = box.create("echo hello")
    assert box.printed() == ""
    box.start()
    assert box.wait(made) == 0
    assert box.printed() == "hello\n"
    box.left_nothing()
    assert held().descriptors == before


def test_it_is_a_child_of_its_maker(box: Box) -> None:
    seen: list[int] = []
    made = box.create(on_runtime=seen.append)
    assert seen == [made.pid]
    assert f"\nPPid:\t{os.getpid()}\n" in Path(f"/proc/{made.pid}/status").read_text()


def test_a_container_starts_once(box: Box) -> None:
    made = box.create("sleep 1000")
    box.start()
    with pytest.raises((LaunchError, OSError)):
        box.start()
    os.kill(made.pid, signal.SIGKILL)


def test_the_start_of_one_that_was_killed_says_so(box: Box) -> None:
    made = box.create()
    os.kill(made.pid, signal.SIGKILL)
    box.wait(made)
    with pytest.raises(LaunchError, match="has ended"):
        box.start()


def test_a_state_folder_with_a_long_path_works(box: Box) -> None:
    box.folder = box.folder.joinpath(*["x" * 100] * 3)
    box.folder.mkdir(parents=True)
    assert box.run("echo hello") == "hello\n"


def test_what_on_runtime_raises_ends_it(box: Box) -> None:
    def fail(pid: int) -> None:
        raise KeyError(pid)

    with pytest.raises(KeyError):
        box.create(on_runtime=fail)
    box.left_nothing()


def test_a_process_that_dies_at_any_step_leaves_nothing(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.new("user", "time")
    box.linux.update(maskedPaths=["/proc/kcore"], readonlyPaths=["/proc/sys"])
    box.config["hostname"] = "box"
    real = plan.Plan.encode
    lines: list[str] = []

    def see(self: plan.Plan) -> tuple[bytes, int]:
        lines[:] = self._lines
        return real(self)

    monkeypatch.setattr(plan.Plan, "encode", see)
    box.run()
    ready = lines.index("ready ")
    assert ready > 30
    for number in range(ready + 1):

        def die(self: plan.Plan, number: int = number) -> tuple[bytes, int]:
            self._lines.insert(number, "die")
            return real(self)

        monkeypatch.setattr(plan.Plan, "encode", die)
        with pytest.raises(LaunchError, match="ended while it was made"):
            box.create()
        box.left_nothing()


def test_a_step_that_fails_is_named_with_its_object_and_error(box: Box) -> None:
    box.mount("/data", source="/nowhere", options=["bind"])
    error = box.fails("bind")
    assert error.message == "bind /data: open_tree /nowhere: No such file or directory"


def test_the_kernels_own_words_are_passed_on(box: Box) -> None:
    box.mount("/data", type="tmpfs", options=["colour=red"])
    error = box.fails("filesystem")
    assert "option colour=red; tmpfs: Unknown parameter 'colour'" in error.message


# ---- The command ----


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("nosuch", 127, "executable file not found in $PATH"),
        ("/bin/nosuch", 127, "it can't be run"),
        ("/etc/passwd", 126, "Permission denied"),
        ("/etc", 126, "Permission denied"),
    ],
)
def test_create_finds_out_that_there_is_no_such_command(
    box: Box, command: str, status: int, words: str
) -> None:
    box.process["args"] = [command]
    error = box.fails("command")
    assert error.status == status
    assert words in error.message


def test_start_finds_out_that_it_is_no_program(box: Box) -> None:
    (box.rootfs / "bin/text").write_text("no program")
    (box.rootfs / "bin/text").chmod(0o755)
    box.process["args"] = ["text"]
    made = box.create()
    with pytest.raises(LaunchError, match="Exec format error") as caught:
        box.start()
    assert (caught.value.step, caught.value.status) == ("exec", 126)
    assert box.wait(made) == 125


def test_arguments_and_environment_come_through_byte_by_byte(box: Box) -> None:
    words = ["", " ", "%", "\n", "%41", "ä", os.fsdecode(b"\xff")]
    box.process["args"] = ["/bin/sh", "-c", 'printf "[%s]" "$@"; printf "$A"', "sh", *words]
    box.process["env"] = ["PATH=/bin", "A=1 2\n3"]
    made = box.create()
    box.start()
    assert box.wait(made) == 0
    box.output.seek(0)
    assert box.output.read() == b"".join(b"[%s]" % os.fsencode(w) for w in words) + b"1 2\n3"


# ---- Namespaces ----


def test_its_namespaces_are_its_own(box: Box) -> None:
    box.new("user", "time")
    made = box.create("sleep 1000")
    box.start()
    for name in ("mnt", "uts", "ipc", "pid", "net", "cgroup", "user", "time"):
        assert namespace(made.pid, name) != namespace("self", name), name


def test_those_that_arent_named_are_the_hosts(box: Box) -> None:
    box.linux["namespaces"] = [{"type": "mount"}]
    made = box.create("sleep 1000")
    box.start()
    for name in ("uts", "ipc", "pid", "net", "cgroup", "user", "time"):
        assert namespace(made.pid, name) == namespace("self", name), name


@pytest.mark.parametrize("user", [False, True])
def test_namespaces_are_joined_by_path(box: Box, tmp_path: Path, user: bool) -> None:
    if user:
        box.new("user")
    first = box.create("sleep 1000")
    (tmp_path / "two").mkdir()
    box.folder = tmp_path / "two"
    names = {"uts": "uts", "ipc": "ipc", "network": "net", "pid": "pid"} | (
        {"user": "user"} if user else {}
    )
    box.linux["namespaces"] = [
        {"type": kind, "path": f"/proc/{first.pid}/ns/{name}"} for kind, name in names.items()
    ] + [{"type": "mount"}]
    for key in MAPS:
        box.linux.pop(key, None)
    second = box.create("sleep 1000")
    for name in names.values():
        assert namespace(second.pid, name) == namespace(first.pid, name), name
    assert namespace(second.pid, "mnt") != namespace(first.pid, "mnt")


def test_without_a_mount_namespace_it_is_refused(box: Box) -> None:
    box.linux["namespaces"] = [{"type": "pid"}]
    box.config["mounts"] = []
    with pytest.raises(LaunchError, match="mount namespace"):
        box.create()


def test_ids_are_mapped(box: Box) -> None:
    box.new("user")
    box.process["user"] = {"uid": 7, "gid": 8, "additionalGids": [9]}
    made = box.create("id; cat /proc/self/uid_map; sleep 1000")
    box.start()
    status = Path(f"/proc/{made.pid}/status").read_text()
    assert "\nUid:\t100007\t100007\t100007\t100007\n" in status
    assert "\nGid:\t100008\t100008\t100008\t100008\n" in status
    assert "\nGroups:\t100009 \n" in status


def test_offsets_of_time(box: Box) -> None:
    box.new("time")
    box.linux["timeOffsets"] = {"boottime": {"secs": 1000000, "nanosecs": 0}}
    days = float(box.run("cat /proc/uptime").split()[0])
    assert days > 1000000 > float(Path("/proc/uptime").read_text().split()[0])


def test_names_of_host_and_domain(box: Box) -> None:
    box.config.update(hostname="box", domainname="box.test")
    printed = box.run("hostname; cat /proc/sys/kernel/domainname")
    assert printed == "box\nbox.test\n"
    assert socket.gethostname() != "box"


def test_the_loopback_is_up(box: Box) -> None:
    assert "LOOPBACK,UP" in box.run("ip link show lo")


def test_parameters_of_its_namespaces(box: Box) -> None:
    before = Path("/proc/sys/kernel/msgmax").read_text()
    box.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4321"}
    paths = "/proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax"
    assert box.run(f"cat {paths}") == "1\n4321\n"
    assert Path("/proc/sys/kernel/msgmax").read_text() == before


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
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x20000) == 0
    assert libc.mount(None, b"/", None, 1 << 20 | 1 << 14, None) == 0


def mounted() -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def test_a_tmpfs_takes_what_was_there(box: Box) -> None:
    (box.rootfs / "etc/folder").mkdir(mode=0o750)
    (box.rootfs / "etc/folder/link").symlink_to("../passwd")
    os.chown(box.rootfs / "etc/group", 5, 6)
    (box.rootfs / "etc/group").chmod(0o4640)
    box.mount("/etc", type="tmpfs", source="tmpfs", options=["tmpcopyup", "ro"])
    printed = box.run(
        "stat -c '%a %u %g' /etc/group /etc/folder; readlink /etc/folder/link;"
        "head -n1 /etc/passwd; touch /etc/x || echo readonly"
    )
    assert printed.startswith("4640 5 6\n750 0 0\n../passwd\nroot:x:0:0::/root:/bin/sh\n")
    assert printed.endswith("readonly\n")


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
@pytest.mark.parametrize("option", ["ro", "rw"])
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


@pytest.fixture
def cgroup() -> Iterator[Any]:
    from ringlet.container.cgroups import Cgroups

    made = Cgroups.find().create(f"/ringlet-launch-{os.getpid()}", "one", {}, may_lack=True)
    yield made
    made.delete()


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


# ---- Terminal and streams ----


@pytest.mark.parametrize("user", [False, True])
def test_a_terminal_goes_to_the_console_socket(box: Box, tmp_path: Path, user: bool) -> None:
    if user:
        box.new("user")
    box.process.update(terminal=True, consoleSize={"height": 20, "width": 70})
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "console"))
        listener.listen()
        made = box.create(
            "tty; stty size; echo > /dev/console", console_socket=str(tmp_path / "console")
        )
        connection, _ = listener.accept()
        with connection:
            _, fds, _, _ = socket.recv_fds(connection, 100, 1)
    with open(fds[0], "rb", buffering=0) as terminal:
        size = array.array("H", [0] * 4)
        fcntl.ioctl(terminal, termios.TIOCGWINSZ, size)
        assert list(size[:2]) == [20, 70]
        box.start()
        printed = b""
        with contextlib.suppress(OSError):  # EIO: its other end has closed
            while True:
                printed += terminal.read(100)
        assert printed == b"/dev/pts/0\r\n20 70\r\n\r\n"
    assert box.wait(made) == 0


def test_a_console_socket_that_nobody_listens_at(box: Box) -> None:
    box.process["terminal"] = True
    with pytest.raises(LaunchError, match="nobody listens"):
        box.create(console_socket="/nowhere")
    box.left_nothing()


def test_nothing_is_open_but_the_streams_and_what_is_preserved(box: Box, tmp_path: Path) -> None:
    folder = os.open("/", os.O_RDONLY)
    os.set_inheritable(folder, True)
    try:
        assert box.run("ls /proc/self/fd").split() == ["0", "1", "2", "3"]  # 3 is the folder of ls
    finally:
        os.close(folder)


def test_the_streams_belong_to_the_user(box: Box) -> None:
    box.process["user"] = {"uid": 1000, "gid": 1000}
    assert box.run("echo hello > /dev/stdout") == "hello\n"
    assert os.fstat(box.output.fileno()).st_uid == 1000


# ---- The process ----


def test_user_groups_and_umask(box: Box) -> None:
    box.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o27}
    printed = box.run("id -u; id -g; id -G; umask")
    assert printed == "1000\n1001\n1001 5 6\n0027\n"


def test_the_umask_is_ours_if_none_is_named(box: Box) -> None:
    old = os.umask(0o13)
    try:
        assert box.run("umask") == "0013\n"
    finally:
        os.umask(old)


def test_the_working_directory_is_made(box: Box) -> None:
    box.process["cwd"] = "/deep/er"
    assert box.run("pwd") == "/deep/er\n"


def test_a_working_directory_that_only_root_gets_into(box: Box) -> None:
    (box.rootfs / "root").chmod(0o700)
    box.process.update(cwd="/root", user={"uid": 1000, "gid": 1000})
    assert box.run("pwd") == "/root\n"


def test_a_working_directory_by_a_descriptor_of_the_host_is_refused(box: Box) -> None:
    for fd in range(3, 12):  # CVE-2024-21626
        box.process["cwd"] = f"/proc/self/fd/{fd}"
        try:
            made = box.create()
        except LaunchError as error:
            seen = error
        else:  # the only folder of the helper's that it can be is the container's root
            assert os.path.samefile(f"/proc/{made.pid}/cwd", f"/proc/{made.pid}/root")
            os.kill(made.pid, signal.SIGKILL)
            box.wait(made)
            (box.folder / "start").unlink()
            continue
        assert seen.step in ("folder", "cwd"), seen.message
        box.left_nothing()


def capabilities(status: str) -> dict[str, int]:
    return {
        line[3:6]: int(line.split()[1], 16)
        for line in status.splitlines()
        if line.startswith("Cap")
    }


@pytest.mark.parametrize("uid", [0, 1000])
def test_five_sets_of_capabilities(box: Box, uid: int) -> None:
    box.process["user"] = {"uid": uid, "gid": 0}
    box.process["capabilities"] = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
        "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_CHOWN"],
        "inheritable": ["CAP_KILL"],
        "ambient": ["CAP_KILL"],
    }
    sets = capabilities(box.run("cat /proc/self/status"))
    chown, kill, setuid = 1 << 0, 1 << 5, 1 << 7
    assert sets["Bnd"] == chown | kill | setuid
    assert sets["Inh"] == sets["Amb"] == kill
    # At exec, root gets all that it may have, and a user what is ambient (capabilities(7)).
    assert sets["Eff"] == sets["Prm"] == (kill if uid else chown | kill | setuid)


def test_one_that_names_no_capabilities_has_none(box: Box) -> None:
    del box.process["capabilities"]
    assert set(capabilities(box.run("cat /proc/self/status")).values()) == {0}


@pytest.mark.parametrize("no_new_privs", [False, True])
def test_no_new_privileges_and_a_filter(box: Box, no_new_privs: bool) -> None:
    box.process.update(noNewPrivileges=no_new_privs, user={"uid": 1000, "gid": 1000})
    box.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    printed = box.run("cat /proc/self/status; mkdir /tmp/x; true")
    assert f"NoNewPrivs:\t{int(no_new_privs)}\n" in printed
    assert "Seccomp:\t2\n" in printed
    assert os.strerror(95).lower() in printed.lower()


def test_the_agent_of_a_filter_gets_its_listener(box: Box, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        agent.listen()
        box.linux["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": str(tmp_path / "agent"),
            "listenerMetadata": "about it",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
        }
        made = box.create("sleep 1000")
        box.start()
        connection, _ = agent.accept()
        with connection:
            data, fds, _, _ = socket.recv_fds(connection, 65536, 4)
    said = json.loads(data)
    assert said["fds"] == ["seccompFd"]
    assert said["pid"] == said["state"]["pid"] == made.pid
    assert said["metadata"] == "about it"
    assert said["state"]["bundle"] == str(box.bundle)
    assert os.readlink(f"/proc/self/fd/{fds[0]}") == "anon_inode:seccomp notify"
    os.close(fds[0])


def test_limits(box: Box) -> None:
    box.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]
    printed = box.run("ulimit -Sn; ulimit -Hn; ulimit -Sc")
    assert printed == "100\n200\n0\n"


def test_limits_too_tight_for_its_making_hold_in_the_end(box: Box) -> None:
    box.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 3, "hard": 3},
        {"type": "RLIMIT_FSIZE", "soft": 100, "hard": 100},
    ]
    assert box.run("ulimit -n") == "3\n"


def test_a_right_that_this_host_lacks_is_named(box: Box) -> None:
    box.process["oomScoreAdj"] = -1000
    if _has(24):  # CAP_SYS_RESOURCE
        box.run()
        return
    assert "oom_score_adj -1000" in box.fails("oom_score_adj").message
    del box.process["oomScoreAdj"]
    box.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1 << 20}]
    error = box.fails("hard")
    assert "RLIMIT_NOFILE" in error.message
    assert "CAP_SYS_RESOURCE" in error.hint


def _has(capability: int) -> bool:
    sets = capabilities(Path("/proc/self/status").read_text())
    return bool(sets["Eff"] >> capability & 1)


def test_the_score_of_the_oom_killer(box: Box) -> None:
    box.process["oomScoreAdj"] = 321
    assert box.run("cat /proc/self/oom_score_adj") == "321\n"


def test_personality_scheduler_and_io_priority(box: Box) -> None:
    box.linux["personality"] = {"domain": "LINUX32"}
    box.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}
    box.process["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE", "priority": 3}
    made = box.create("uname -m; ionice; sleep 1000")
    box.start()
    assert os.sched_getscheduler(made.pid) == os.SCHED_BATCH
    assert os.getpriority(os.PRIO_PROCESS, made.pid) == 5
    while (printed := os.pread(box.output.fileno(), 100, 0)).count(b"\n") < 2:
        assert box.alive(made), printed
    assert printed.startswith(b"i686\nidle")


def test_it_has_a_session_and_a_keyring_of_its_own(box: Box) -> None:
    made = box.create("cat /proc/keys; sleep 1000")
    box.start()
    assert os.getsid(made.pid) == made.pid


def test_its_program_was_never_a_file_of_the_host(box: Box) -> None:
    made = box.create()  # CVE-2019-5736
    program = f"/proc/{made.pid}/exe"
    assert os.readlink(program) == "/memfd:ringlet-container (deleted)"
    with pytest.raises(OSError, match=r"busy|permitted"):
        os.open(program, os.O_WRONLY)
    fd = os.open(program, os.O_RDONLY)
    assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) == 0xF
    os.close(fd)


# ---- One more process ----


def execute(box: Box, made: Launched, script: str, **process: Any) -> str:
    one = {
        "cwd": "/",
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/sh", "-c", script],
        "env": ["PATH=/bin"],
    } | process
    box.output.seek(0)
    output = box.output.fileno()
    more = launch.execute(made.pid, box.config, one, cgroup=None, stdio=(output, output, output))  # type: ignore[arg-type]
    os.close(more.pidfd)
    assert os.waitstatus_to_exitcode(os.waitpid(more.pid, 0)[1]) == 0
    return box.printed()


@pytest.mark.parametrize("user", [False, True])
def test_one_more_process_is_where_the_others_are(box: Box, user: bool) -> None:
    box.config["hostname"] = "box"
    box.new("time")
    if user:
        box.new("user")
    made = box.create("sleep 1000")
    box.start()
    names = ("mnt", "uts", "ipc", "pid", "net", "cgroup", "user", "time")
    printed = execute(
        box,
        made,
        "hostname; for i in {}; do readlink /proc/self/ns/$i; done".format(" ".join(names)),
    )
    assert printed.split() == ["box", *(namespace(made.pid, name) for name in names)]
    assert execute(box, made, "id -u; pwd", user={"uid": 9, "gid": 9}, cwd="/tmp") == "9\n/tmp\n"


def test_one_more_process_runs_on_the_processors_that_it_names(box: Box) -> None:
    made = box.create("sleep 1000")
    box.start()
    cpu = str(min(os.sched_getaffinity(0)))
    affinity = {"initial": cpu, "final": cpu}
    printed = execute(
        box, made, "grep Cpus_allowed_list /proc/self/status", execCPUAffinity=affinity
    )
    assert printed.split()[-1] == cpu
    assert os.sched_getaffinity(made.pid) == os.sched_getaffinity(0)


def test_one_more_process_that_cant_be_run(box: Box) -> None:
    made = box.create("sleep 1000")
    box.start()
    with pytest.raises(LaunchError) as caught:
        execute(box, made, "", args=["nosuch"])
    assert caught.value.status == 127


# ---- Without root ----


def test_a_user_without_rights_has_a_container() -> None:
    with tempfile.TemporaryDirectory() as folder:  # not the tests' own, which is root's alone
        os.chmod(folder, 0o755)
        box = Box(Path(folder))
        box.new("user")
        one = [{"containerID": 0, "hostID": 1234, "size": 1}]
        box.linux.update(uidMappings=one, gidMappings=one)
        for path in (box.folder, box.rootfs, *box.rootfs.iterdir()):
            os.chown(path, 1234, 1234)
        child = os.fork()
        if child:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            box.close()
            return
        status = 1
        try:
            launch._helper_fd()
            check(box.config)  # imports what it needs while it can
            os.setgroups([])
            os.setresgid(1234, 1234, 1234)
            os.setresuid(1234, 1234, 1234)
            printed = box.run("id -u; cat /proc/self/setgroups; echo > /dev/null && echo well")
            assert printed == "0\ndeny\nwell\n"
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
