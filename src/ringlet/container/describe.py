"""From what a container is to be to the configuration of the container runtime.

The defaults are the safe ones: its own user namespace, few capabilities, a seccomp filter, no new
privileges, nothing of the host's /proc that tells or does too much.

Source: OCI Runtime Specification 1.2, config.md and config-linux.md.
"""

import os
from typing import Any

from ringlet.container.config import ContainerConfig
from ringlet.container.identity import Identity, find_user, id_ranges
from ringlet.errors import ConfigError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PERIOD = 100_000  # microseconds in which a container has its processor time

# What a root of containers needs to install software and to serve, and no more. Docker's list
# without MKNOD (devices), AUDIT_WRITE, NET_RAW (forged packets) and SETFCAP.
CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
)  # fmt: skip

# Of /proc and /sys, what tells of the host's hardware and memory, or acts on it.
MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
    "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_NO = ("nosuid", "noexec", "nodev")
_MOUNTS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("/proc", "proc", "proc", _NO),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    ("/dev/pts", "devpts", "devpts",
     ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")),
    ("/dev/shm", "tmpfs", "shm", (*_NO, "mode=1777", "size=65536k")),
    ("/dev/mqueue", "mqueue", "mqueue", _NO),
    ("/sys", "sysfs", "sysfs", (*_NO, "ro")),
    ("/sys/fs/cgroup", "cgroup", "cgroup", (*_NO, "relatime", "ro")),
)  # fmt: skip


def describe(config: ContainerConfig) -> tuple[dict[str, Any], list[str]]:
    """The runtime's configuration, and what is weaker than it should be on this host.

    Raises `ConfigError` where the rootfs, its user or a volume isn't there.
    """
    from ringlet.container.seccomp_profile import for_capabilities

    rootfs = os.path.abspath(config.rootfs)
    identity = find_user(rootfs, config.user)
    ranges, notes = id_ranges()
    namespaces = ["pid", "ipc", "uts", "mount", "cgroup"]
    if config.network == "none":
        namespaces.append("network")
    linux: dict[str, Any] = {
        "resources": _resources(config),
        "maskedPaths": list(MASKED),
        "readonlyPaths": list(READONLY),
        "seccomp": for_capabilities(CAPABILITIES),
    }
    if ranges is not None:
        namespaces.append("user")
        linux["uidMappings"], linux["gidMappings"] = ranges
    linux["namespaces"] = [{"type": name} for name in namespaces]
    described = {
        "ociVersion": "1.2.0",
        "root": {"path": rootfs, "readonly": config.read_only},
        "hostname": config.hostname,
        "process": _process(config, identity),
        "mounts": _mounts(config, own_network="network" in namespaces),
        "linux": linux,
    }
    return described, notes


def _process(config: ContainerConfig, identity: Identity) -> dict[str, Any]:
    environment = {"PATH": PATH, "HOME": identity.home, "HOSTNAME": config.hostname}
    if config.tty:
        environment["TERM"] = os.environ.get("TERM", "xterm")
    environment |= config.env
    capabilities = list(CAPABILITIES)
    # Another user than root gets none: they are there for a program that becomes root, and
    # no_new_privs keeps every program from that.
    held = capabilities if identity.uid == 0 else []
    return {
        "terminal": config.tty,
        "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups},
        "args": list(config.command),
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": config.workdir,
        "noNewPrivileges": True,
        "capabilities": {
            "bounding": capabilities,
            "effective": held,
            "permitted": held,
            "inheritable": [],
            "ambient": [],
        },
    }


def _resources(config: ContainerConfig) -> dict[str, Any]:
    resources: dict[str, Any] = {"pids": {"limit": config.pids}}
    if config.memory is not None:
        # With what is swapped out: a limit that pushes its memory to the disk is none.
        resources["memory"] = {"limit": config.memory, "swap": config.memory}
    if config.cpus is not None:
        resources["cpu"] = {"period": PERIOD, "quota": max(1000, int(config.cpus * PERIOD))}
    return resources


def _mounts(config: ContainerConfig, *, own_network: bool) -> list[dict[str, Any]]:
    mounts = []
    for path, kind, source, options in _MOUNTS:
        if kind == "sysfs" and not own_network:
            # It shows the network namespace's devices, and so belongs to who owns that.
            mount = {"destination": path, "type": "bind", "source": "/sys"}
            mounts.append({**mount, "options": ["rbind", *_NO, "rro"]})
            continue
        mounts.append(
            {"destination": path, "type": kind, "source": source, "options": list(options)}
        )
    for volume in config.volumes:
        source = os.path.abspath(volume.source)
        if not os.path.exists(source):
            raise ConfigError(f"there is no {source} for a volume", "check the path, or make it")
        flags = ["rbind", "nosuid", "nodev", "rro" if volume.readonly else "rw"]
        mounts.append(
            {"destination": volume.path, "type": "bind", "source": source, "options": flags}
        )
    return mounts
