"""Checks kernel parameters: a container may set only those of its own namespaces.

Source: OCI Runtime Specification 1.3, config-linux.md, "Sysctl"; sysctl(8) (of names);
namespaces(7), ipc_namespaces(7); Linux, ipc/ipc_sysctl.c and ipc/mq_sysctl.c.
"""

from __future__ import annotations

import os

from ringlet.container.spec.checkers import FieldError, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.container.spec.types import Linux

DOMAIN_NAME = "kernel/domainname"
_HOST_NAME = "kernel/hostname"
_IPC = frozenset(
    f"kernel/{name}"
    for name in (
        "auto_msgmni", "msg_next_id", "msgmax", "msgmnb", "msgmni", "sem", "sem_next_id",
        "shm_next_id", "shm_rmid_forced", "shmall", "shmmax", "shmmni",
    )
)  # fmt: skip
FILES = {"uts": "uts", "ipc": "ipc", "network": "net"}  # in /proc/PID/ns


def sysctl_path(name: str) -> str:
    """Returns a parameter's path below /proc/sys: net/ipv4/ip_forward for net.ipv4.ip_forward.

    The first separator in the name, a dot or a slash, is the separator between folders. The other
    character stands for a dot in a folder's name, such as in eth0.1.
    """
    if "." in name.partition("/")[0]:
        return name.translate({ord("."): "/", ord("/"): "."})
    return name


def sysctl_of_its_own(linux: Linux) -> None:
    """Checks that each parameter belongs to a namespace that the container doesn't share."""
    for name in linux.get("sysctl", ()):
        path = sysctl_path(name)
        if any(part in ("", ".", "..") for part in path.split("/")):
            raise _refused(name, "it is no kernel parameter", "write it like net.core.somaxconn")
        if path == _HOST_NAME:
            raise _refused(name, "`hostname` is the place for it", "set hostname instead")
        kind = namespace_of(path)
        if kind is None:
            raise _refused(name, "it is the host's, in no namespace", "set it on the host")
        if shares(linux, kind):
            raise _refused(
                name,
                f"the container has no {kind} namespace of its own",
                f'add {{"type": "{kind}"}} to namespaces',
            )


def shares(linux: Linux, kind: str) -> bool:
    """Returns whether the container has our own uts, ipc or network namespace."""
    own = [one for one in linux.get("namespaces", ()) if one["type"] == kind]
    return not own or ("path" in own[0] and _is_ours(own[0]["path"], kind))


def namespace_of(path: str) -> str | None:
    """Returns the namespace that the parameter at `path` below /proc/sys is in; None: the host."""
    if path == DOMAIN_NAME:
        return "uts"
    if path in _IPC or path.startswith("fs/mqueue/"):
        return "ipc"
    return "network" if path.startswith("net/") else None


def _is_ours(path: str, kind: str) -> bool:
    try:
        return os.path.samefile(path, f"/proc/self/ns/{FILES[kind]}")
    except OSError:
        return False  # there is no namespace to join, and the step that joins it reports this


def _refused(name: str, why: str, hint: str) -> FieldError:
    return FieldError(why, hint, f"sysctl[{shown(name)}]")
