"""The workload of a sandbox, as data from options, a TOML file or a program.

A workload is a command, its files and its limits. A workload doesn't say how to enforce them:
container/describe.py turns a workload into namespaces and cgroups.
"""

from __future__ import annotations

import os

from ringlet.errors import ConfigError
from ringlet.host.outcome import STOP_TIMEOUT
from ringlet.host.settings import load_toml, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NamedTuple
else:
    from ringlet.host.named_tuple import NamedTuple

NETWORKS = ("none", "host")
PIDS = 1024  # how many processes and threads a workload may have by default
MIN_MEMORY = 1 << 20


class Volume(NamedTuple):
    """A file or folder of the host that the command sees at `path`."""

    source: str | os.PathLike[str]
    path: str
    readonly: bool = False


class Workload:
    """The command that runs in a sandbox, its files and its limits.

    rootfs     the folder that is the root of the command's file system
    command    the command and its arguments
    memory     bytes of RAM; None for no limit
    cpus       the most processor time, as a number of processors, such as 1.5; None for no limit
    pids       the most processes and threads; 0 or -1 for no limit; None for PIDS, if ringlet may
               limit them
    volumes    each a `Volume` or `HOST:GUEST[:ro|:rw]`
    devices    paths of the host's character devices that the command may open, such as /dev/kvm
    env        the environment, besides PATH, HOME, HOSTNAME and, with `tty`, TERM
    workdir    the folder in which the command starts
    user       `USER[:GROUP]`, as names in the rootfs or as numbers
    hostname   the host name inside the sandbox
    nesting    whether the command may make containers: namespaces, mounts and a root of its own
    network    `none`, which has only a loopback device, or `host`
    read_only  whether the root is read-only
    write      whether the rootfs keeps changes of the root; else the changes are lost
    tty        whether the command has a terminal of its own
    timeout    seconds after which the command is killed
    stop_timeout  how many seconds the command has to end after the request to stop

    Raises `ConfigError` for a value that can't be used.
    """

    def __init__(
        self,
        *,
        rootfs: str | os.PathLike[str],
        command: Sequence[str],
        memory: int | None = None,
        cpus: float | None = None,
        pids: int | None = None,
        volumes: Sequence[Volume | str] = (),
        devices: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        workdir: str = "/",
        user: str = "0",
        hostname: str = "ringlet",
        nesting: bool = False,
        network: str = "none",
        read_only: bool = False,
        write: bool = False,
        tty: bool = False,
        timeout: float | None = None,
        stop_timeout: float = STOP_TIMEOUT,
    ) -> None:
        self.rootfs = rootfs
        self.command = tuple(command)
        self.memory = memory
        self.cpus = cpus
        self.pids = pids
        self.volumes = tuple(parse_volume(v) if isinstance(v, str) else v for v in volumes)
        self.devices = tuple(devices)
        self.env = dict(env or {})
        self.workdir = workdir
        self.user = user
        self.hostname = hostname
        self.nesting = nesting
        self.network = network
        self.read_only = read_only
        self.write = write
        self.tty = tty
        self.timeout = timeout
        self.stop_timeout = stop_timeout
        self._check()

    def _check(self) -> None:
        if not self.command or not self.command[0]:
            raise ConfigError("no command is named", "name one after `--`: ... -- sh")
        if self.memory is not None and self.memory < MIN_MEMORY:
            raise ConfigError(f"memory of {self.memory} bytes", "give it at least 1M")
        if self.cpus is not None and not 0.01 <= self.cpus <= 1 << 16:
            raise ConfigError(f"{self.cpus} CPUs", "give it at least 0.01")
        if self.pids is not None and not -1 <= self.pids <= 1 << 22:
            raise ConfigError(
                f"a limit of {self.pids} processes", "give it 1 or more; 0 is no limit"
            )
        if self.network not in NETWORKS:
            raise ConfigError(
                f"there is no network {self.network!r}", f"choose one of {', '.join(NETWORKS)}"
            )
        if not self.workdir.startswith("/"):
            raise ConfigError(
                f"the working directory {self.workdir!r} isn't absolute", "begin it with a /"
            )
        if not 0 < len(os.fsencode(self.hostname)) <= 64:
            raise ConfigError("the host name is empty or too long", "give 1 to 64 bytes")
        if self.timeout is not None and not 0 < self.timeout < 1e9:
            raise ConfigError("the timeout is out of range", "give seconds above 0")
        if not 0 <= self.stop_timeout < 1e9:
            raise ConfigError("the stop timeout is out of range", "give seconds, 0 or more")
        if self.write and self.read_only:
            raise ConfigError(
                "a root that can't be written has no changes to keep",
                "choose one of --read-only and --write",
            )
        for name in self.env:
            if not name or "=" in name:
                raise ConfigError(f"no variable is called {name!r}", "write NAME=VALUE")
        texts = [*self.command, *self.env, *self.env.values(), self.hostname, self.workdir]
        texts += [self.user, os.fsdecode(self.rootfs), *self.devices]
        texts += [os.fsdecode(path) for volume in self.volumes for path in volume[:2]]
        if any("\0" in text for text in texts):
            raise ConfigError("there is a zero byte in what is to run", "leave it out")


ContainerConfig = Workload  # the name for code that is about containers only


def parse_volume(text: str) -> Volume:
    """Parses a volume, `HOST:GUEST[:ro|:rw]`. Raises `ConfigError`."""
    parts = text.split(":")
    readonly = parts[2:] == ["ro"]
    if readonly or parts[2:] == ["rw"]:
        parts.pop()
    if len(parts) != 2 or not parts[0] or not parts[1].startswith("/"):
        raise ConfigError(f"{text!r} is not a volume", "write HOST:/GUEST, HOST:/GUEST:ro or :rw")
    return Volume(parts[0], parts[1], readonly)


def parse_variable(text: str) -> tuple[str, str]:
    """Parses `NAME=VALUE`, or `NAME` for the variable's value in this process.

    Raises `ConfigError` if this process has no such variable.
    """
    name, equals, value = text.partition("=")
    if equals:
        return name, value
    if name not in os.environ:
        raise ConfigError(f"{name} isn't set here", "write NAME=VALUE")
    return name, os.environ[name]


_TYPES: dict[str, tuple[type, ...]] = {
    "rootfs": (str,),
    "command": (list,),
    "memory": (int, str),
    "cpus": (int, float),
    "pids": (int,),
    "volumes": (list,),
    "devices": (list,),
    "env": (dict,),
    "workdir": (str,),
    "user": (str,),
    "hostname": (str,),
    "nesting": (bool,),
    "network": (str,),
    "read_only": (bool,),
    "write": (bool,),
    "tty": (bool,),
    "timeout": (int, float),
    "stop_timeout": (int, float),
}


def read_toml(path: str) -> dict[str, Any]:
    """Returns the keys of a TOML file, for `Workload`. Raises `ConfigError` for a wrong file.

    A relative path in the file starts at the file's own folder.
    """
    values = load_toml(path, _TYPES)
    folder = os.path.dirname(path)
    for key in ("command", "volumes", "devices"):
        if not all(isinstance(word, str) for word in values.get(key, [])):
            raise ConfigError(f"{path}: {key} isn't text alone", 'give a list like ["text"]')
    if not all(isinstance(value, str) for value in values.get("env", {}).values()):
        raise ConfigError(f"{path}: env isn't text alone", 'give a table like NAME = "value"')
    if "rootfs" in values:
        values["rootfs"] = os.path.join(folder, values["rootfs"])
    if "volumes" in values:
        volumes = map(parse_volume, values["volumes"])
        values["volumes"] = [v._replace(source=os.path.join(folder, v.source)) for v in volumes]
    if isinstance(values.get("memory"), str):
        values["memory"] = parse_size(values["memory"])
    return values
