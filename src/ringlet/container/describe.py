"""Makes the configuration of the container runtime from a workload.

The defaults are the safe ones: a user namespace of its own, few capabilities, a seccomp filter,
no new privileges, and no file of the host's /proc that tells or does too much.

Source: OCI Runtime Specification 1.3, config.md and config-linux.md.
"""

from __future__ import annotations

import os
import stat

from ringlet.container.identity import find_user, id_ranges, one_user
from ringlet.container.reach import is_reached_by_others
from ringlet.container.seccomp.profile import DEFAULT, NESTING
from ringlet.container.spec import default
from ringlet.container.spec.default import NO, mounts
from ringlet.container.volumes import find_source
from ringlet.errors import ConfigError
from ringlet.host.workload import PIDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ringlet.container.identity import Identity, Ranges
    from ringlet.host.workload import Workload

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PERIOD = 100_000  # microseconds: the period of the limit of processor time

# Capabilities that root in a container needs to install software and to serve, and no more.
# This is Docker's list without MKNOD (devices), AUDIT_WRITE, NET_RAW (forged packets) and SETFCAP.
CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
)  # fmt: skip

# Masked paths in addition to those that no container sees.
MASKED = ("/proc/interrupts", "/sys/devices/virtual/powercap")
_TERMINALS = 5  # the group tty


def describe(workload: Workload) -> tuple[dict[str, Any], list[str]]:
    """Returns the runtime's configuration, and notes of all that is weaker than intended here.

    Raises `ConfigError` where the rootfs, its user or a volume doesn't exist.
    """
    rootfs = os.path.abspath(workload.rootfs)
    if os.path.lexists(rootfs):
        rootfs = find_source(rootfs, "rootfs")
    identity = find_user(rootfs, workload.user)
    ranges, notes = id_ranges()
    devices = [_device(path) for path in workload.devices]
    if devices and os.geteuid() != 0:
        ranges, notes = one_user()  # a range would cost the user's groups, such as kvm
    identity = _mapped(identity, ranges)
    namespaces = ["pid", "ipc", "uts", "mount", "cgroup", "user"]
    if workload.network == "none":
        namespaces.append("network")
    linux: dict[str, Any] = {
        "resources": _resources(workload, devices),
        "maskedPaths": [*default.MASKED, *MASKED],
        "readonlyPaths": list(default.READONLY),
        "seccomp": DEFAULT,
        "devices": devices,
        "namespaces": [{"type": name} for name in namespaces],
        "uidMappings": ranges[0],
        "gidMappings": ranges[1],
    }
    if workload.network != "none" and workload.nesting:
        raise ConfigError(
            "the host's network isn't for a container that makes containers",
            'leave out one of the two: the network "none" is the default',
        )
    if workload.nesting:
        if devices:
            raise ConfigError(
                "a container that makes containers gets no device", "leave out one of the two"
            )
        for volume in workload.volumes:
            if not volume.readonly or os.stat(volume.source).st_uid == os.geteuid() != 0:
                raise ConfigError(
                    f"a container that makes containers could write to {volume.source}",
                    "name a volume that is read-only, and whose owner is another user",
                )
        # The kernel allows a new /proc only to those who see a whole one. In the user namespace,
        # what is masked otherwise belongs to nobody.
        linux |= {"seccomp": NESTING, "maskedPaths": [], "readonlyPaths": []}
    described = {
        "ociVersion": "1.2.0",
        "root": {"path": rootfs, "readonly": workload.read_only},
        "hostname": workload.hostname,
        "process": _process(workload, identity),
        "mounts": _mounts(
            workload,
            has_groups=_count(ranges[1]) > _TERMINALS,
        ),
        "linux": linux,
    }
    return described, [*notes, *_open_volumes(workload)]


def _device(path: str) -> dict[str, Any]:
    """Returns the device at `path` as `linux.devices` has it.

    Raises `ConfigError` if `path` isn't an absolute path of a character device.
    """
    try:
        status = os.lstat(path)
    except OSError as error:
        raise ConfigError(f"the device {path}: {error.strerror}", "check the path") from None
    if not stat.S_ISCHR(status.st_mode) or not path.startswith("/"):
        raise ConfigError(f"{path} isn't a character device", "name one, such as /dev/kvm")
    return {
        "path": path,
        "type": "c",
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
    }


def layer(workload: Workload) -> str | None:
    """Returns the most that changes of the root may take, in the form of tmpfs(5).

    This is half of the container's memory. Returns None where changes are kept.
    """
    if workload.write:
        return None
    return "50%" if workload.memory is None else str(workload.memory // 2)


def _mapped(identity: Identity, ranges: Ranges) -> Identity:
    """Drops groups that aren't mapped. Raises `ConfigError` if the user or its group isn't."""
    users, groups = map(_count, ranges)
    for what, number, count in (("user", identity.uid, users), ("group", identity.gid, groups)):
        if number >= count:
            raise ConfigError(
                f"the container has no {what} {number}: its {what}s end at {count - 1}",
                "more take a range of yours in /etc/subuid and /etc/subgid, and newuidmap "
                "(apt install uidmap)",
            )
    return identity._replace(groups=[gid for gid in identity.groups if gid < groups])


def _count(mapping: list[dict[str, Any]]) -> int:
    """Returns how many IDs a mapping has: its IDs begin at 0, and there is no gap."""
    return sum(one["size"] for one in mapping)


def _process(workload: Workload, identity: Identity) -> dict[str, Any]:
    environment = {"PATH": PATH, "HOME": identity.home, "HOSTNAME": workload.hostname}
    if workload.tty:
        environment["TERM"] = os.environ.get("TERM", "xterm")
    environment |= workload.env
    capabilities = [*CAPABILITIES, *["CAP_SYS_ADMIN"] * workload.nesting]
    # A user other than root gets no capabilities: they would be there for a program that becomes
    # root, and no_new_privs keeps every program from becoming root.
    held = capabilities if identity.uid == 0 else []
    return {
        "terminal": workload.tty,
        "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups},
        "args": list(workload.command),
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": workload.workdir,
        "noNewPrivileges": True,
        "capabilities": {
            "bounding": capabilities,
            "effective": held,
            "permitted": held,
            "inheritable": [],
            "ambient": [],
        },
    }


def _resources(workload: Workload, devices: list[dict[str, Any]]) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    if devices and os.geteuid() == 0:
        numbers = [{key: one[key] for key in ("type", "major", "minor")} for one in devices]
        resources["devices"] = [{"allow": True, **one, "access": "rw"} for one in numbers]
    if workload.pids is not None or os.geteuid() == 0:
        resources["pids"] = {"limit": PIDS if workload.pids is None else workload.pids}
    if workload.memory is not None:
        # The limit includes swapped memory: otherwise the container could go over it by swapping.
        resources["memory"] = {"limit": workload.memory, "swap": workload.memory}
    if workload.cpus is not None:
        resources["cpu"] = {"period": PERIOD, "quota": max(1000, int(workload.cpus * PERIOD))}
    return resources


def _mounts(workload: Workload, *, has_groups: bool) -> list[dict[str, Any]]:
    described: list[dict[str, Any]] = [dict(mount) for mount in mounts(rootless=False)]
    for mount in described:
        if mount["destination"] == "/proc":
            mount["options"] = list(NO)
        elif mount["destination"] == "/dev/pts" and not has_groups:
            mount["options"].remove(f"gid={_TERMINALS}")
    for volume in workload.volumes:
        source = find_source(os.fspath(volume.source))
        flags = ["rbind", "rnosuid", "rnodev", "rro" if volume.readonly else "rw"]
        # IDs in a volume are the same as on the host, as in the rootfs. A container that may mount
        # could make the volume writable, so there the volume's files are nobody's.
        if os.geteuid() == 0 and not workload.nesting:
            flags.append("idmap")
        described.append(
            {"destination": volume.path, "type": "bind", "source": source, "options": flags}
        )
    return described


def _open_volumes(workload: Workload) -> Iterator[str]:
    """Yields a warning for each writable volume that other users of the host can reach, too."""
    for volume in workload.volumes:
        if volume.readonly:
            continue
        source = os.path.realpath(volume.source)
        folder = source if os.path.isdir(source) else os.path.dirname(source)
        fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if is_reached_by_others(fd):
                yield (
                    f"other users of this host reach the volume {source}, where a setuid program "
                    "that the container makes would be yours: a folder that you alone can enter, "
                    "or :ro, is safer"
                )
        finally:
            os.close(fd)
