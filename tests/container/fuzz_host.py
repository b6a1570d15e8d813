"""A host of its own for the fuzz test of configurations, and the comparison of all that it has.

It lives in namespaces of its own (mount, pid, uts, ipc, network, cgroup). Its root is an overlay
over this machine's, so what is written anywhere stands in a layer that is thrown away, and can be
listed; what is mounted below is there read-only. `/dev` is a folder with nodes in place of the
machine's, the cgroups that it sees begin at its own.

    /fuzz/bundle    the container's; /fuzz/host: what is bound; /fuzz/pods: containers to join
    /ringlet-canary and /ringlet-escaped: a file and programs that no container may reach
"""

import ctypes
import os
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .fuzz_config import Case

BUNDLE, VOLUMES, STATE = "/fuzz/bundle", "/fuzz/host", "/fuzz/state"
ROOTFS = f"{BUNDLE}/rootfs"
_PROBE = Path(__file__).with_name("fuzz_probe.c")
_NEWNS, _OTHERS = 0x2_0000, 0x2000_0000 | 0x400_0000 | 0x800_0000 | 0x4000_0000 | 0x200_0000
_RDONLY, _REMOUNT, _BIND, _REC, _PRIVATE, _SHARED = 1, 32, 1 << 12, 1 << 14, 1 << 18, 1 << 20
_DETACH = 2
_PIVOT_ROOT = 155  # the system call's number
_BIG = 1 << 16  # bytes; of a bigger file, its times tell that it was written to
_NODES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
_SETTINGS = (
    "kernel/hostname", "kernel/domainname", "kernel/core_pattern", "kernel/msgmax", "kernel/shmmax",
    "kernel/sem", "fs/mqueue/msg_max", "net/ipv4/ip_forward", "net/core/somaxconn", "vm/swappiness",
)  # fmt: skip
_LIMITS = frozenset((
    "cpuset.cpus", "memory.limit_in_bytes", "pids.max", "cpu.shares", "cpu.cfs_quota_us",
    "devices.list", "freezer.state", "memory.max", "cpu.max", "cgroup.freeze",
))  # fmt: skip
CABLE = "cable"  # a network device that a container may be given
_PLUG = "veth"  # and a number: its other end, which goes some time after it
_OURS = ("fuzz/cache", "fuzz/bundle/config.json")  # files that aren't compared
_FOLDERS = ("bin", "etc", "tmp", "proc", "sys", "dev", "home/user", "full/of/folders", "vol/sub")

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> int:
    words = [os.fsencode(it) if isinstance(it, str) else it for it in arguments]
    result = int(getattr(_libc, name)(*words))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")
    return result


def mount(source: str, target: str, kind: str | None, flags: int = 0, data: str = "") -> None:
    _call("mount", source, target, kind, ctypes.c_ulong(flags), data)


def unshare() -> None:
    """New namespaces for this process, the pid namespace for its children; all of its mounts."""
    _call("unshare", _NEWNS | _OTHERS)


def die_with_parent() -> None:
    _call("prctl", 1, signal.SIGKILL)


def umount(target: str) -> None:
    _call("umount2", target, _DETACH)


def compile_probes(folder: Path) -> None:
    """The container's command, and the program of the host that none may run."""
    for name, more in (("probe", ()), ("escaped", ("-DESCAPED",))):
        command = ["gcc", "-static", "-O1", "-Wall", "-Wextra", "-Werror", *more]
        subprocess.run([*command, "-o", folder / name, _PROBE], check=True, timeout=60)


class Entry(NamedTuple):
    """A file, with all that can be changed of it."""

    mode: int
    owner: tuple[int, int]
    device: int
    size: int
    times: tuple[int, int]
    content: bytes
    attributes: tuple[tuple[str, bytes], ...]


class Seen(NamedTuple):
    """The host, as it is at one moment."""

    files: dict[str, Entry]
    others: dict[str, list[str] | str]


class Host:
    """The host that this process is in from now on, as process 1 of it."""

    def __init__(self, folder: Path) -> None:
        (folder / "host").mkdir(exist_ok=True)
        self._build(folder / "host", folder)
        socket.sethostname("fuzz-host")
        Path("/proc/sys/kernel/domainname").write_text("fuzz.test")
        self.device = os.stat("/fuzz").st_dev
        self.known: Seen | None = None
        """What `look` would see now, if that is known."""

    def _build(self, place: Path, probes: Path) -> None:
        mount("none", "/", None, _REC | _PRIVATE)
        mounted = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        mount("fuzz", str(place), "tmpfs", data="mode=755")
        for name in ("upper", "work", "root", "dev", "fuzz"):
            (place / name).mkdir()
        # Not closed by exec, as an engine's may be: no container may have it.
        layers = os.open(place, os.O_PATH | os.O_DIRECTORY)
        self.layers = 500
        os.dup2(layers, self.layers, inheritable=False)
        os.close(layers)
        root = place / "root"
        layers_are = f"lowerdir=/,upperdir={place}/upper,workdir={place}/work"
        mount("overlay", str(root), "overlay", data=layers_are)
        for fields in mounted:
            below = fields[4].encode().decode("unicode_escape")
            if below.startswith(("/dev", "/proc", "/sys", "/run")) or below == "/":
                continue
            if (root / below[1:]).exists():
                mount(below, str(root / below[1:]), None, _BIND)
                mount("none", str(root / below[1:]), None, _BIND | _REMOUNT | _RDONLY)
        (root / "fuzz").mkdir()
        for name in ("dev", "fuzz"):
            mount(str(place / name), str(root / name), None, _BIND)
        mount("proc", str(root / "proc"), "proc")
        mount("sysfs", str(root / "sys"), "sysfs")
        _make_cgroups(root / "sys/fs/cgroup", mounted)
        _make_dev(root / "dev")
        _make_content(root, probes)
        os.chdir(root)
        _call("syscall", _PIVOT_ROOT, ".", ".")
        umount(".")
        os.chdir("/")
        mount("none", "/", None, _REC | _SHARED)  # as the first process of many systems leaves it

    def remove(self, paths: list[str]) -> None:
        """Of files that `look` has seen. Those below a folder come first."""
        for path in sorted(paths, reverse=True):
            whole = f"/proc/self/fd/{self.layers}/{path}"
            if stat.S_ISDIR(os.lstat(whole).st_mode):
                os.rmdir(whole)
            else:
                os.unlink(whole)

    def unmount_shared(self, case: "Case", before: Seen, after: Seen) -> bool:
        """What shows on the host because a bind was to be `shared`; whether there was any."""
        shared = False
        for line in reversed(after.others["mounts"]):
            place = line.split()[4].encode().decode("unicode_escape")
            if line not in before.others["mounts"] and any(
                {"shared", "rshared"}.intersection(mount.get("options", ()))
                and Path(place).is_relative_to(mount["source"])
                for mount in case.config.get("mounts", ())
            ):
                umount(place)
                shared = True
        return shared

    def look(self) -> Seen:
        """All that is compared."""
        return Seen(self._files(), self.others())

    def _files(self) -> dict[str, Entry]:
        files = {}
        top = f"/proc/self/fd/{self.layers}/"
        for part in ("upper", "dev", "fuzz"):
            for path in _walk(top + part):
                name = path[len(top) :]
                if not name.startswith(_OURS):
                    files[name] = _entry(path)
        return files

    def lay_cable(self) -> None:
        """The network device is there again, if a container has had it."""
        if CABLE not in {name for _, name in socket.if_nameindex()}:
            command = f"busybox ip link add {CABLE} type veth"
            subprocess.run(command.split(), check=True, timeout=60)

    def at_rest(self, before: Seen) -> bool:
        """Whether what was killed is gone."""
        now = self.others()
        return all(name == "mounts" or before.others.get(name) == now[name] for name in now)

    def others(self) -> dict[str, list[str] | str]:
        """What is compared and isn't a file of a disk."""
        others: dict[str, list[str] | str] = {
            "mounts": Path("/proc/self/mountinfo").read_text().splitlines(),
            "processes": sorted(name for name in os.listdir("/proc") if name.isdecimal()),
            "terminals": sorted(os.listdir("/dev/pts")),
            "network": sorted(
                name
                for _, name in socket.if_nameindex()
                if name != CABLE and not name.startswith(_PLUG)
            ),
        }
        for name in _SETTINGS:
            others[name] = _read(f"/proc/sys/{name}")
        for folder, folders, names in os.walk("/sys/fs/cgroup"):
            for name in folders:
                others[f"{folder}/{name}"] = "a cgroup"
            for name in _LIMITS.intersection(names):
                others[f"{folder}/{name}"] = _read(f"{folder}/{name}")
        return others


def _read(path: str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return os.fsdecode(file.read())
    except OSError as error:
        return error.strerror or ""


def _walk(folder: str) -> Iterator[str]:
    yield folder
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)
            else:
                yield entry.path


def _entry(path: str) -> Entry:
    status = os.stat(path, follow_symlinks=False)
    content = b""
    if stat.S_ISLNK(status.st_mode):
        content = os.fsencode(os.readlink(path))
    elif stat.S_ISREG(status.st_mode) and status.st_size < _BIG:
        with open(path, "rb", buffering=0) as file:
            content = file.read()
    attributes = tuple(
        (name, os.getxattr(path, name, follow_symlinks=False))
        for name in sorted(os.listxattr(path, follow_symlinks=False))
    )
    return Entry(
        status.st_mode,
        (status.st_uid, status.st_gid),
        status.st_rdev,
        0 if stat.S_ISDIR(status.st_mode) else status.st_size,
        (status.st_mtime_ns, status.st_ctime_ns),
        content,
        attributes,
    )


def _make_cgroups(folder: Path, mounted: list[list[str]]) -> None:
    """The same hierarchies at the same places; in this namespace they begin at our own cgroup."""
    for fields in mounted:
        kind, source, options = fields[fields.index("-") + 1 :][:3]
        if fields[4].startswith("/sys/fs/cgroup"):
            place = folder / fields[4].removeprefix("/sys/fs/cgroup").lstrip("/")
            data = options.removeprefix("rw").removeprefix(",") if kind == "cgroup" else ""
            if kind == "tmpfs":
                data = "mode=755"
            place.mkdir(exist_ok=True)
            mount(source, str(place), kind, data=data)


def _make_dev(dev: Path) -> None:
    for name, minor in _NODES.items():
        os.mknod(dev / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
        os.chmod(dev / name, 0o666)
    os.mknod(dev / "tty", 0o666 | stat.S_IFCHR, os.makedev(5, 0))
    os.mknod(dev / "fuse", 0o600 | stat.S_IFCHR, os.makedev(10, 229))
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    for name, target in {"ptmx": "pts/ptmx", "fd": "/proc/self/fd"}.items():
        (dev / name).symlink_to(target)
    mount("devpts", str(dev / "pts"), "devpts", data="newinstance,ptmxmode=0666,mode=620")


def _make_content(root: Path, probes: Path) -> None:
    for place in (root, root / "fuzz"):
        (place / "ringlet-canary").write_text("of the host")
    escaped = root / "ringlet-escaped"
    escaped.mkdir()
    for name in ("probe", "hook"):
        shutil.copy(probes / "escaped", escaped / name)
    for name in ("bin", "state", "cache", "tmp"):
        (root / "fuzz" / name).mkdir()
    shutil.copy(probes / "probe", root / "fuzz/bin/probe")
    (root / "fuzz/bundle").mkdir()
    (root / "fuzz/bundle/config.json").write_text("{}")
    for rootfs in ("bundle/rootfs", "pods/plain/rootfs", "pods/user/rootfs"):
        _make_rootfs(root / "fuzz" / rootfs, probes / "probe")
    (root / "fuzz/bundle/link").symlink_to("rootfs")
    _make_volumes(root / "fuzz/host")


def _make_rootfs(rootfs: Path, probe: Path) -> None:
    for name in _FOLDERS:
        (rootfs / name).mkdir(parents=True)
    for folder in (rootfs, *rootfs.rglob("*/")):
        folder.chmod(0o777)  # mount points are made in there as any user
    shutil.copy(probe, rootfs / "bin/probe")
    (rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (rootfs / "etc/shadow").write_text("root:secret\n")
    (rootfs / "full/file").write_text("a file")
    for name, target in {
        "todev": "dev",
        "toproc": "/proc",
        "up": "../../../..",
        "out": "/fuzz/host/vol",
        "loop": "loop",
        "nowhere": "/not/there/yet",
        "canary": "/../of-the-root",
    }.items():
        (rootfs / name).symlink_to(target)


def _make_volumes(volumes: Path) -> None:
    vol = volumes / "vol"
    for name in ("sub/deep", "etc", "pts"):
        (vol / name).mkdir(parents=True)
    (vol / "file").write_text("of the volume")
    (vol / "setuid").write_text("of root")
    (vol / "setuid").chmod(0o4755)
    os.chown(vol / "sub", 1234, 4321)
    os.mknod(vol / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    os.mkfifo(vol / "fifo")
    for name, target in {"up": "..", "canary": "/ringlet-canary", "todev": "/dev"}.items():
        (vol / name).symlink_to(target)
    os.setxattr(vol / "file", "user.mark", b"of the volume")
    # What looks like a /dev, and isn't one to be written to.
    fake = volumes / "fakedev"
    for name in ("pts", "shm", "mqueue"):
        (fake / name).mkdir(parents=True)
    for name in ("ptmx", "tty", "zero", "stdin", "console"):
        (fake / name).write_text(f"the host's {name}")
    for name, minor in _NODES.items():
        if name != "zero":
            os.mknod(fake / name, 0o600 | stat.S_IFCHR, os.makedev(1, minor))
            os.chown(fake / name, 7, 8)
    (fake / "fd").symlink_to("/ringlet-canary")
    (volumes / "private").mkdir(0o700)
    (volumes / "private/key").write_text("secret")
    (volumes / "file").write_text("a file of the host")
    (volumes / "open").mkdir()
    (volumes / "open").chmod(0o1777)
