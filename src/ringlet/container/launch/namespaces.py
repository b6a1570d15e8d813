"""The namespaces of a container: noted when they are made, compared before a process joins them.

Process 1 is the image's program. Without any right it can make a user namespace of its own, and in
that namespace a mount namespace whose /bin/sh is a program of its choice. If a process of
`exec --user 0` joined the current namespaces of process 1, it would run that program as the
container's root. So `exec` joins the namespaces that ringlet made: each is opened once, compared
with the note, and joined by that descriptor, whatever process 1 does in the meantime.

The kernel gives the number of a namespace that is gone to a new namespace. So the note also has
the user namespace that owns each namespace. Process 1 is in the container's user namespace, or
below, so the container's user namespace stays, and a namespace that process 1 makes without rights
has another owner.

Source: namespaces(7), user_namespaces(7), ioctl_nsfs(2).
"""

from __future__ import annotations

import errno
import os
from fcntl import ioctl

from ringlet.container.launch.helper import LaunchError, Opened
from ringlet.container.launch.plan import NAMESPACES
from ringlet.container.launch.privileges import has_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.container.spec.types import Config

    Note = dict[str, list[int]]  # for each kind: device and inode, and those of its owner

_NS_GET_USERNS = 0xB701
# Process 1 enters a new time namespace only when it runs its command.
_FILES = {"mount": "mnt", "network": "net", "time": "time_for_children"}


def note(pid: int) -> Note:
    """Returns the namespaces of `pid`, which runs no program of the container yet.

    Empty if this process may not see them. Raises LaunchError if the process has ended.
    """
    opened = Opened()
    try:
        return {kind: _look(fd) for kind, fd in _open(pid, opened).items()}
    except PermissionError:  # root without CAP_SYS_PTRACE
        return {}
    finally:
        opened.close()


def find(pid: int, config: Config, noted: Note | None, opened: Opened) -> list[tuple[int, int]]:
    """Returns the namespaces of the process `pid`, to be joined: descriptors, and their types.

    Namespaces that this process is in already are left out. Raises LaunchError if the container's
    process isn't in the namespaces that were `noted`. A container that an older ringlet has made
    has no note: then each namespace has to be one that only the container's maker can have made.
    """
    try:
        fds = _open(pid, opened)
    except PermissionError:
        raise LaunchError(
            "the container's first process is hidden: its namespaces can't be seen",
            "start the container first; root without CAP_SYS_PTRACE never sees them",
        ) from None
    if not has_user_namespace(config):
        del fds["user"]  # a user namespace that the process made isn't the container's
    theirs = {kind: _look(fd) for kind, fd in fds.items()}
    owners = [_place(os.stat("/proc/self/ns/user")), []]
    if "user" in theirs:
        owners.append(theirs["user"][:2])
    for kind, seen in theirs.items():
        # A user namespace's owner is its parent: no user namespace owns itself.
        is_right = seen == noted.get(kind) if noted else seen[2:] in owners
        if not is_right:
            raise LaunchError(
                f"the container's first process has left the {kind} namespace that was made for "
                "it: a process that joins would find what the first process has put there",
                "make the container again, without what leaves its namespaces",
            )
    return [
        (fd, NAMESPACES[kind])
        for kind, fd in fds.items()
        if theirs[kind][:2] != _place(os.stat(_path("self", kind)))
    ]


def _open(pid: int, opened: Opened) -> dict[str, int]:
    """Returns the namespaces of a process, of each kind that this kernel has."""
    fds = {}
    for kind in NAMESPACES:
        if not os.path.exists(_path("self", kind)):
            continue
        try:
            fds[kind] = opened.add(os.open(_path(pid, kind), os.O_RDONLY | os.O_CLOEXEC))
        except (FileNotFoundError, ProcessLookupError):
            raise LaunchError(
                "the container's first process has ended, or its first thread", "`state` tells"
            ) from None
    return fds


def _path(pid: int | str, kind: str) -> str:
    return f"/proc/{pid}/ns/{_FILES.get(kind, kind)}"


def _look(fd: int) -> list[int]:
    """Returns device and inode of a namespace, and of its owner unless that is above our own."""
    seen = _place(os.fstat(fd))
    try:
        owner = ioctl(fd, _NS_GET_USERNS)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        return seen
    try:
        return seen + _place(os.fstat(owner))
    finally:
        os.close(owner)


def _place(status: os.stat_result) -> list[int]:
    return [status.st_dev, status.st_ino]
