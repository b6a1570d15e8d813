"""A container's defences, each of which can be taken away, and what is tried against them.

That an attack fails shows little: it may be a wrong one. So it names all the defences that stop
it, and `outcomes` runs it without them, but with all others; with each of them; and with all.
"""

import copy
import os
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

from ringlet.container.cgroups import Cgroups
from ringlet.container.describe import describe
from ringlet.container.launch import launch
from ringlet.container.launch.description import Creation
from ringlet.container.spec.names import CAPABILITIES
from ringlet.container.state import HostProcess
from ringlet.host.workload import Workload

USER, PID, CGROUP = "user namespace", "pid namespace", "cgroup namespace"
CAPS, SECCOMP, PATHS, DEVICES, KEYRING = (
    "capabilities", "seccomp", "masked and read-only paths", "device rules", "session keyring",
)  # fmt: skip


class Attack(NamedTuple):
    """A script of the container's root that ends with status 0 if it succeeds."""

    script: str
    stopped_by: tuple[str, ...]  # by each of these alone, and by nothing else


def _drop_namespace(config: Any, kind: str) -> None:
    namespaces = config["linux"]["namespaces"]
    config["linux"]["namespaces"] = [one for one in namespaces if one["type"] != kind]


def _drop_pid_namespace(config: Any) -> None:
    _drop_namespace(config, "pid")
    for mount in config["mounts"]:
        if mount["destination"] == "/proc":  # a new one is for who owns the namespace
            mount.update(type="bind", source="/proc", options=["rbind"])


def _drop_user_namespace(config: Any) -> None:
    _drop_namespace(config, "user")
    del config["linux"]["uidMappings"], config["linux"]["gidMappings"]


def _grant_capabilities(config: Any) -> None:
    for name in ("bounding", "effective", "permitted"):
        config["process"]["capabilities"][name] = list(CAPABILITIES)


def _drop_paths(config: Any) -> None:
    config["linux"].update(maskedPaths=[], readonlyPaths=[])


def _allow_devices(config: Any) -> None:
    config["linux"]["resources"]["devices"] = [{"allow": True, "access": "rwm"}]


_TAKE_AWAY: dict[str, Callable[[Any], None]] = {
    USER: _drop_user_namespace,
    PID: _drop_pid_namespace,
    CGROUP: lambda config: _drop_namespace(config, "cgroup"),
    CAPS: _grant_capabilities,
    SECCOMP: lambda config: config["linux"].pop("seccomp"),
    PATHS: _drop_paths,
    DEVICES: _allow_devices,
    KEYRING: lambda config: None,  # an argument of `launch.create`
}


def take_away(config: Any, defences: Collection[str]) -> None:
    """From a configuration as `describe` makes it."""
    for defence in defences:
        _TAKE_AWAY[defence](config)


def run(rootfs: Path, script: str, without: Collection[str] = ()) -> tuple[int, str]:
    """The script's status and output, in a container as `ringlet run` makes it, but `without`.

    IDs of its files aren't mapped, which not all file systems can: they are nobody's in there.
    """
    described, _ = describe(Workload(rootfs=rootfs, command=["sh", "-c", script]))
    config: Any = copy.deepcopy(described)
    take_away(config, without)
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryFile() as output,
        open(os.devnull, "rb") as null,
    ):
        id = f"attack-{os.path.basename(folder)}"
        cgroup = Cgroups.find().create(None, id, config["linux"]["resources"], may_lack=False)
        try:
            creation = Creation(
                config,
                folder,
                folder,
                cgroup,
                stdio=(null.fileno(), output.fileno(), output.fileno()),
                no_new_keyring=KEYRING in without,
            )
            made = launch.create(creation, on_runtime=lambda pid: None)
            try:
                launch.start(folder, HostProcess(made.pid))
                status = os.waitstatus_to_exitcode(os.waitpid(made.pid, 0)[1])
            finally:
                os.close(made.pidfd)
        finally:
            cgroup.kill()
            cgroup.delete()
        output.seek(0)
        return status, output.read().decode(errors="replace")


def outcomes(rootfs: Path, attack: Attack) -> dict[str, bool]:
    """Whether it succeeds: with "all" defences, each of those that stop it, and "none" of them."""
    stopping = set(attack.stopped_by)
    without = {"all": set[str]()} | {one: stopping - {one} for one in stopping}
    without["none"] = stopping  # the last one: a host that it has changed is another one
    return {name: run(rootfs, attack.script, these)[0] == 0 for name, these in without.items()}


def expected(attack: Attack) -> dict[str, bool]:
    """What `outcomes` has to be."""
    return dict.fromkeys(("all", *attack.stopped_by), False) | {"none": True}
