"""Makes the default configuration, which `ringlet-oci spec` writes and users change.

Source: OCI Runtime Specification 1.3, config.md and config-linux.md ("Default Filesystems"); the
values are those of runc's `spec`, which users know.
"""

from __future__ import annotations

import os

from ringlet.container.spec.names import OCI_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.container.spec.types import Config, Linux, Mount

# Paths of /proc and /sys that tell of the host's hardware and memory, or act on them.
MASKED = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
]
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
NO = ("nosuid", "noexec", "nodev")


def default(*, rootless: bool = False) -> Config:
    """Returns a configuration for a shell; with `rootless`, this user is its root and only user."""
    capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "ringlet",
        "mounts": mounts(rootless=rootless),
        "linux": _linux(rootless),
    }


def mounts(*, rootless: bool) -> list[Mount]:
    """Returns the default mounts; with `rootless`, none that needs rights over the host's."""
    # The group 5, tty, doesn't exist in a container with only one mapped group.
    terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    default: list[Mount] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": terminals if rootless else [*terminals, "gid=5"],
        },
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": [*NO, "mode=1777", "size=65536k"],
        },
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": [*NO]},
    ]
    # Only the owner of the network namespace may mount sysfs. The host's sysfs contains cgroups,
    # and some may be the user's own: so the mounts below it have to be read-only, too. A mount
    # that comes later would not be; so it may not show here.
    if rootless:
        default.append(
            {
                "destination": "/sys",
                "type": "none",
                "source": "/sys",
                "options": ["rbind", "rprivate", *NO, "ro", *(f"r{name}" for name in (*NO, "ro"))],
            }
        )
    else:
        default += [
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*NO, "ro"]},
            {
                "destination": "/sys/fs/cgroup",
                "type": "cgroup",
                "source": "cgroup",
                "options": [*NO, "relatime", "ro"],
            },
        ]
    return default


def of_the_host() -> list[str]:
    """Returns what /proc shows of the host itself, in no namespace, and what isn't masked.

    All mounts of procfs share the modes and owners of these files. Without a user namespace, the
    container's root owns the files, and would change their modes on the host, too. What /proc shows
    of processes stays writable.
    """
    with os.scandir("/proc") as entries:
        names = [one.name for one in entries if not one.name.isdigit() and not one.is_symlink()]
    return sorted({f"/proc/{name}" for name in names} - {*MASKED, *READONLY})


def _linux(rootless: bool) -> Linux:
    from ringlet.container.seccomp.profile import DEFAULT

    linux: Linux = {
        "namespaces": [
            {"type": "pid"},
            {"type": "ipc"},
            {"type": "uts"},
            {"type": "mount"},
            {"type": "cgroup"},
        ],
        "maskedPaths": MASKED,
        "readonlyPaths": READONLY if rootless else [*READONLY, *of_the_host()],
        "seccomp": DEFAULT,  # without a user namespace, keys of the host's root could be read
    }
    if rootless:
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    else:
        linux["namespaces"].append({"type": "network"})
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    return linux
