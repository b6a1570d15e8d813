"""Containers that end with the process that made them, however it ends.

No process of a container can be trusted with that: PR_SET_PDEATHSIG goes by the thread that made
it, and the kernel takes it back when a program changes its user. So the first container of a
process brings along a guard, the helper in another part (csrc/container/guard.c), which is
given each container's descriptor and kills them once that process is gone. Before the container's
cgroup is made the guard is told of it, and in the end removes what there is.

Source: pidfd_open(2), unix(7), PR_SET_PDEATHSIG(2const).
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_SEQPACKET, SOL_SOCKET, socketpair
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

SCM_RIGHTS = 1

_lock = allocate_lock()
_guard: socket | None = None  # the way to it


def watch(pid: int) -> None:
    """The child `pid` is killed when this process ends. Raises LaunchError."""
    pidfd = os.pidfd_open(pid)
    try:
        _tell(b"W", [(SOL_SOCKET, SCM_RIGHTS, pidfd.to_bytes(4, "little"))])
    finally:
        os.close(pidfd)


def expect(folders: list[str]) -> None:
    """These, which are to be made, are removed when this process ends. Raises LaunchError.

    They are cgroups, of a name that nobody else has: the guard removes what has it.
    """
    _tell(b"F" + b"".join(os.fsencode(folder) + b"\0" for folder in folders), [])


def _tell(order: bytes, descriptors: list[tuple[int, int, bytes]]) -> None:
    global _guard
    with _lock:
        if _guard is None:
            _guard = _start()
        try:
            _guard.sendmsg([order], descriptors)
        except ConnectionError:  # someone has killed it
            _guard = _start()
            _guard.sendmsg([order], descriptors)


def _forget() -> None:
    """The guard is of the process that we are forked from, and so is whoever has the lock."""
    global _guard, _lock
    _guard, _lock = None, allocate_lock()


os.register_at_fork(after_in_child=_forget)


def _start() -> socket:
    from ringlet.container.launch.helper import run_alone
    from ringlet.container.launch.plan import Descriptors, Plan

    plan, descriptors = Plan(), Descriptors(0)
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
    owner = os.pidfd_open(os.getpid())
    try:
        plan.add("fds", "", descriptors.first)
        plan.add("guard", "", descriptors.give(theirs.fileno()), descriptors.give(owner))
        run_alone(plan, descriptors, ours, theirs)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        os.close(owner)
    return ours
