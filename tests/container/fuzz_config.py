"""Configurations of containers, made at random: valid ones, of parts that seldom meet.

A seed makes the same one again. What they are run on, and what mustn't come of it, is
`fuzz_host.py` and `fuzz_run.py`.

Source: OCI Runtime Specification 1.3, config.md and config-linux.md.
"""

import random
from typing import Any, NamedTuple

from ringlet.container.spec.names import CAPABILITIES, HOOKS

from .fuzz_host import CABLE, ROOTFS, VOLUMES

TOO_LONG = "/." * 2200
NAMESPACES = ("pid", "network", "ipc", "uts", "cgroup")
_NS_FILES = {"network": "net", "mount": "mnt"}
_MASKED = (
    "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware", "/etc/shadow",
    "/full", "/vol/file", "/vol/sub", "/dev/null", "/not/there", "/dev", "/tmp",
)  # fmt: skip
_READONLY = (
    "/proc/sys", "/proc/bus", "/proc/sysrq-trigger", "/sys", "/etc", "/full/file", "/vol",
    "/dev/shm", "/not/there", "/tmp",
)  # fmt: skip
_FOLDERS = (
    "/vol", "/vol", "/vol/sub", "/vol/new/one", "/dev", "/dev/pts", "/dev/shm", "/dev/fd",
    "/dev/new", "/proc", "/sys", "/etc", "/tmp", "/new/folder", "/out", "/out/sub", "/up/dev",
    "/nowhere/more", "/", "/proc/sys", "/proc/self/fd", "/sys/fs/cgroup", "/proc/1", "/loop/x",
    "/full",
)  # fmt: skip
_FILES = (
    "/vol/file", "/dev/null", "/dev/tty", "/dev/console", "/dev/ptmx", "/etc/passwd", "/bin/more",
    "/canary", "/full/file", "/new/file", "/dev/stdin", "/dev/new", "/proc/kcore",
)  # fmt: skip
_SOURCE_FOLDERS = ("vol", "vol/sub", "fakedev", "fakedev", "private", "vol/todev", "vol/up")
_SOURCE_FILES = ("vol/file", "vol/null", "file", "private/key", "fakedev/ptmx")
_KINDS = ("bind",) * 6 + ("tmpfs", "tmpfs", "copyup", "remount", "proc", "mqueue")
_BIND_OPTIONS = (
    "ro", "rw", "rro", "nosuid", "nodev", "noexec", "noatime", "private", "rprivate", "slave",
    "rslave", "unbindable", "nosymfollow",
)  # fmt: skip
_CWDS = ("/tmp", "/vol", "/vol/new", "/not/there", "/home/user", "/out", "/up", "/proc/1/cwd")
_LIMITS = (("RLIMIT_NOFILE", 64), ("RLIMIT_CORE", 0), ("RLIMIT_NPROC", 100), ("RLIMIT_FSIZE", 9999))
_PARAMETERS = (("net.ipv4.ip_forward", "1"), ("kernel.msgmax", "4000"), ("fs.mqueue.msg_max", "7"))
_SCHEDULERS: tuple[dict[str, Any], ...] = (
    {"policy": "SCHED_OTHER", "nice": 5}, {"policy": "SCHED_BATCH"}, {"policy": "SCHED_IDLE"},
    {"policy": "SCHED_FIFO", "priority": 1}, {"policy": "SCHED_RR", "priority": 99},
    {"policy": "SCHED_DEADLINE", "runtime": 10**7, "deadline": 2 * 10**7, "period": 3 * 10**7},
)  # fmt: skip
_POLICIES: tuple[dict[str, Any], ...] = (
    {"mode": "MPOL_DEFAULT"}, {"mode": "MPOL_LOCAL"}, {"mode": "MPOL_BIND", "nodes": "0"},
    {"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
    {"mode": "MPOL_PREFERRED", "nodes": "0-5"}, {"mode": "MPOL_BIND", "nodes": "1023"},
)  # fmt: skip
_RULES = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "access": "rw"}]
_ROOTS = ("rootfs", "rootfs", "./rootfs/.", "../bundle/rootfs", ROOTFS, "link", f"/{ROOTFS}/")
# Of links in the root.
_TARGETS = ("/", "full", "../../host/vol", "/vol", "/proc/self/fd", "/dev", "not/there", VOLUMES)


class Case(NamedTuple):
    """A configuration, and how it is run."""

    seed: int
    config: dict[str, Any]
    words: list[str]  # options of `run` and `create`
    preserved: int  # descriptors, after the streams
    executes: bool  # create, start and exec, not run
    links: dict[str, str]  # in the root, in place of what was there

    @property
    def preserve(self) -> int:
        """How many the runtime is told to preserve."""
        return self.preserved


class _Maker:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.chance = lambda part: self.random.random() < part
        self.choose: Any = self.random.choice
        self.ids = 65536  # those that are mapped
        self.maps = False

    def some(self, things: Any, most: int = 99) -> list[Any]:
        return self.random.sample(list(things), self.random.randint(0, min(most, len(things))))

    def spell(self, path: str, likely: float = 0.3) -> str:
        """The same place in other words; or nearly the same."""
        if not self.chance(likely):
            return path
        if self.chance(0.1):
            return self.choose((TOO_LONG + path, "/" + "x" * 255, "/" + "y" * 256))
        ways = (
            f"/{path}", f"/.{path}", f"{path}/", f"{path}/.", f"/tmp/..{path}", path[1:] or "/",
            f"{path}/../{path.rpartition('/')[2]}", f"/full/of/folders/../../..{path}",
            f"/..{path}", f"/not/there/../..{path}", path.replace("/", "//"), f"/up{path}",
            path.replace("/dev", "/todev", 1), path.replace("/proc", "/toproc", 1),
            f"/proc/../{path}", f"{path}/x", f"{path}/..", f"{path}/../..", f"{path}/a b%20\n",
            f"/proc/self/root{path}", f"/proc/self/cwd{path}",
        )  # fmt: skip
        return self.choose(ways)

    def through_descriptors(self, last: str) -> str:
        number = self.random.randint(3, 12) if self.chance(0.9) else self.random.randint(3, 600)
        up = "/.." * self.random.randint(0, 3)
        return f"/proc/{self.choose(('self', 'self', 'thread-self', '1'))}/fd/{number}{up}{last}"

    def mounts(self) -> list[dict[str, Any]]:
        usual: list[dict[str, Any]] = [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]},
            {"destination": "/dev", "type": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
            {"destination": "/dev/pts", "type": "devpts", "options": ["newinstance", "mode=620"]},
            {"destination": "/dev/shm", "type": "tmpfs", "options": ["nodev"]},
            {"destination": "/dev/mqueue", "type": "mqueue"},
            {"destination": "/sys", "type": "sysfs", "options": ["ro", "nosuid", "nodev"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"]},
        ]
        found = []
        for likely, one in zip((0.95, 0.7, 0.7, 0.5, 0.5, 0.5, 0.3), usual, strict=True):
            if self.chance(likely):
                if self.chance(0.25):
                    one["destination"] = self.spell(one["destination"], 0.7)
                found.append(one)
        for _ in range(self.choose((0, 0, 1, 1, 2, 4))):
            found.insert(self.random.randint(0, len(found)), self.mount())
        if self.chance(0.05):
            self.random.shuffle(found)
        return found

    def mount(self) -> dict[str, Any]:
        destination = self.spell(self.choose(_FOLDERS))
        kind = self.choose(_KINDS)
        if kind == "bind":
            options = [self.choose(("bind", "rbind")), *self.some(_BIND_OPTIONS, 2)]
            if self.maps and self.chance(0.1):
                options.append(self.choose(("idmap", "ridmap")))
            kind = self.choose(("bind", "none", "tmpfs", "proc", ""))
            if self.chance(0.1):
                options.append(self.choose(("shared", "rshared")))
            source = self.choose(_SOURCE_FOLDERS)
            if self.chance(0.25):
                destination, source = self.spell(self.choose(_FILES)), self.choose(_SOURCE_FILES)
            source = f"{self.choose((VOLUMES, VOLUMES, '../host'))}/{source}"
            if {"shared", "rshared"}.intersection(options):
                source = f"{VOLUMES}/open"  # what is mounted in it shows on the host, as it should
            mount = {"destination": destination, "source": source, "options": options}
            return mount | ({"type": kind} if kind else {})
        if kind == "copyup":
            return {"destination": destination, "type": "tmpfs", "options": ["tmpcopyup", "rw"]}
        if kind == "remount":
            options = ["remount", *self.some(("bind", "ro", "nosuid", "rro", "private"), 2)]
            return {"destination": destination, "options": options}
        return {"destination": destination, "type": kind, "options": self.some(("ro", "nosuid"))}

    def namespaces(self, linux: dict[str, Any]) -> list[dict[str, str]]:
        found = [{"type": "mount"}]
        pod = "plain"
        if self.chance(0.45):
            found.append({"type": "user"})
            pod = self.choose(("plain", "user"))
            if pod == "user" and self.chance(0.5):
                found[-1]["path"] = "/fuzz/pods/user/ns/user"
            size = self.choose((1, 1001, 65536, 65536))
            self.maps, self.ids = True, size
            first = self.choose((0, 1000, 100000, 100000, 100000))
            for key in ("uidMappings", "gidMappings"):
                linux[key] = [{"containerID": 0, "hostID": first, "size": size}]
        for kind in NAMESPACES:
            if self.chance(0.9):
                found.append({"type": kind})
            elif self.chance(0.5):
                name = _NS_FILES.get(kind, kind)
                found.append({"type": kind, "path": f"/fuzz/pods/{pod}/ns/{name}"})
        if self.chance(0.15):
            found.append({"type": "time"})
        self.random.shuffle(found)
        return found

    def process(self) -> dict[str, Any]:
        environment = ["PATH=/bin", "HOME=/"]
        arguments = [self.choose(("/bin/probe", "/bin/probe", "/bin/probe", "probe", "bin/probe"))]
        if self.chance(0.12):
            arguments = [self.through_descriptors("/ringlet-escaped/probe")]
        elif self.chance(0.12):
            # Each descriptor that there may be, and at last the container's own.
            ways = (f"/proc/self/fd/{n}{'/..' * up}" for n in range(3, 16) for up in range(3))
            folders = [f"{way}/ringlet-escaped" for way in ways]
            environment[0] = "PATH=" + ":".join([*folders, "/bin"])
            arguments = ["probe"]
        process: dict[str, Any] = {"args": arguments, "env": environment, "cwd": "/"}
        if self.chance(0.2):
            cwd = self.choose(_CWDS)
            process["cwd"] = self.through_descriptors("") if self.chance(0.3) else self.spell(cwd)
        if self.chance(0.4):
            ids = [one for one in (0, 0, 5, 1000) if one < self.ids]
            process["user"] = {"uid": self.choose(ids), "gid": self.choose(ids)}
            if self.chance(0.5):
                process["user"]["additionalGids"] = self.some(sorted(set(ids)))
            if self.chance(0.3):
                process["user"]["umask"] = self.choose((0, 0o22, 0o777))
        if self.chance(0.7):
            some = list(CAPABILITIES) if self.chance(0.3) else self.some(CAPABILITIES)
            sets = {}
            for name in ("bounding", "permitted", "effective", "inheritable", "ambient"):
                sets[name] = some  # each has at most what the one before has
                some = self.some(some) if self.chance(0.3) else some
            process["capabilities"] = sets
        if self.chance(0.5):
            process["noNewPrivileges"] = self.chance(0.7)
        if self.chance(0.3):
            process["rlimits"] = [
                {"type": name, "soft": number, "hard": number}
                for name, number in self.some(_LIMITS)
            ]
        if self.chance(0.2):
            process["oomScoreAdj"] = self.random.randint(0, 1000)
        if self.chance(0.05):
            process["terminal"] = True
            process["consoleSize"] = {"height": 25, "width": 80}
        return process

    def devices(self) -> list[dict[str, Any]]:
        kinds: tuple[dict[str, Any], ...] = (
            {"type": "c", "major": 10, "minor": 229}, {"type": "c", "major": 1, "minor": 3},
            {"type": "b", "major": 7, "minor": 0}, {"type": "p"},
        )  # fmt: skip
        places = (
            "/dev/fuse", "/dev/new", "/dev/null", "/dev/a/b/c", "/vol/node", "/vol/null",
            "/vol/fifo", "/tmp/node", "/out/node", "/dev/pts/9", "/dev/fd", "/new/node",
        )  # fmt: skip
        found = []
        for _ in range(self.random.randint(1, 3)):
            path = self.spell(self.choose(places))
            more = {"fileMode": self.choose((0o600, 0o666, 0o4777)), "uid": self.choose((0, 1000))}
            path = path if path.startswith("/") else f"/{path}"
            if self.maps and self.chance(0.7):  # no right to make any: the host's is bound
                path, kinds = "/dev/fuse", kinds[:1]
            found.append({"path": path} | self.choose(kinds) | (more if self.chance(0.5) else {}))
        return found

    def linux(self) -> dict[str, Any]:
        linux: dict[str, Any] = {}
        linux["namespaces"] = self.namespaces(linux)
        if self.chance(0.35):
            linux["devices"] = self.devices()
        if self.chance(0.5):
            linux["maskedPaths"] = self.paths(_MASKED)
        if self.chance(0.5):
            linux["readonlyPaths"] = self.paths(_READONLY)
        if self.chance(0.3):
            kinds = ("shared", "slave", "private", "unbindable")
            linux["rootfsPropagation"] = self.choose(("", "r")) + self.choose(kinds)
        if self.chance(0.2):
            linux["sysctl"] = dict(self.some(_PARAMETERS))
        if self.chance(0.2):
            rules = [{"names": ["mknod", "bpf"], "action": "SCMP_ACT_ERRNO"}]
            linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
        linux["cgroupsPath"] = self.choose(("/one", "/a/b/one", "one", "./one", "/one/", "//one"))
        if self.chance(0.3):
            linux["resources"] = {"pids": {"limit": 50}}
        if self.chance(0.2):
            linux.setdefault("resources", {})["devices"] = _RULES
        return linux

    def paths(self, known: tuple[str, ...]) -> list[str]:
        spelled = (self.spell(path) if self.chance(0.2) else path for path in self.some(known, 6))
        return [path for path in spelled if path.startswith("/")]

    def add_new(self, config: dict[str, Any]) -> None:
        """The fields that version 1.3 has added, and the scheduler, last: seeds keep the others."""
        config["ociVersion"] = self.choose(("1.2.0", "1.3.0"))
        if self.chance(0.2):
            scheduler = dict(self.choose(_SCHEDULERS))
            if self.chance(0.3):
                scheduler["flags"] = ["SCHED_FLAG_RESET_ON_FORK"]
            config["process"]["scheduler"] = scheduler
        if self.chance(0.15):
            config["linux"]["memoryPolicy"] = self.choose(_POLICIES)
        if self.chance(0.1):
            names = ({}, {"name": "eth0"}, {"name": "net%d"}, {"name": "lo"})
            device = self.choose((CABLE, CABLE, CABLE, "lo", "absent"))
            config["linux"]["netDevices"] = {device: self.choose(names)}

    def hooks(self) -> dict[str, Any]:
        found = {}
        for point in self.some(HOOKS, 3):
            path = "/bin/probe" if point == "startContainer" else "/fuzz/bin/probe"
            if point == "startContainer" and self.chance(0.3):
                path = self.through_descriptors("/ringlet-escaped/hook")
            hook: dict[str, Any] = {"path": path, "args": ["probe", "hook"], "timeout": 10}
            if self.chance(0.5):
                hook["env"] = ["PATH=/bin"]
            found[point] = [hook] * self.choose((1, 1, 2))
        return found


def make(seed: int) -> Case:
    """The configuration of a seed."""
    maker = _Maker(seed)
    chance, choose = maker.chance, maker.choose
    linux = maker.linux()
    root = choose(_ROOTS)
    config: dict[str, Any] = {
        "ociVersion": "",
        "root": {"path": root} | ({"readonly": True} if chance(0.25) else {}),
        "process": maker.process(),
        "mounts": maker.mounts(),
        "linux": linux,
    }
    own_name = {"type": "uts"} in linux["namespaces"]
    if chance(0.5 if own_name else 0.05):
        config["hostname"] = "fuzzed"
    if chance(0.1 if own_name else 0.02):
        config["domainname"] = "fuzzed.test"
    if chance(0.25):
        config["hooks"] = maker.hooks()
    if chance(0.1):
        config["annotations"] = {"org.example.key": "a\nb"}
    preserved = choose((0, 0, 0, 1, 3))
    words = [word for word in ("--no-new-keyring", "--no-pivot") if chance(0.05)]
    links = {}
    if chance(0.15):
        links[choose(("dev", "proc", "sys", "etc", "tmp", "bin/new"))] = choose(_TARGETS)
    executes = chance(0.25) and not config["process"].get("terminal")
    maker.add_new(config)
    return Case(seed, config, words, preserved, executes, links)
