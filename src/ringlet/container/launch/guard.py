"""Ends containers together with the process that made them, however that process ends.

No process of a container can be trusted to do this: PR_SET_PDEATHSIG depends on the thread that
made the process, and the kernel clears it when a program changes its user. So with its first
container a process starts a guard, which is the helper in another role (csrc/container/guard.c).
The guard gets a descriptor of each container, and kills the containers once that process is gone.
The guard is told of a container's cgroup before the cgroup is made, and removes it in the end.

Source: pidfd_open(2), unix(7), PR_SET_PDEATHSIG(2const).
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_SEQPACKET, SOL_SOCKET, socketpair
from _thread import allocate_lock

from ringlet.container.launch.helper import run_alone
from ringlet.container.launch.plan import Descriptors, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

SCM_RIGHTS = 1

_lock = allocate_lock()
_guard: socket | None = None  # the connection to the guard


def watch(pid: int) -> None:
    """Has the child `pid` killed when this process ends. Raises LaunchError."""
    pidfd = os.pidfd_open(pid)
    try:
        _tell(b"W", [(SOL_SOCKET, SCM_RIGHTS, pidfd.to_bytes(4, "little"))])
    finally:
        os.close(pidfd)


def expect(folders: list[str]) -> None:
    """Has the guard remove `folders`, which are made later, when this process ends.

    The folders are cgroups whose names nobody else uses: the guard removes any folder of such
    a name. Raises LaunchError.
    """
    _tell(b"F" + b"".join(os.fsencode(folder) + b"\0" for folder in folders), [])


def _tell(order: bytes, descriptors: list[tuple[int, int, bytes]]) -> None:
    global _guard
    with _lock:
        if _guard is None:
            _guard = _start()
        try:
            _guard.sendmsg([order], descriptors)
        except ConnectionError:  # another process has killed the guard
            _guard = _start()
            _guard.sendmsg([order], descriptors)


def _forget() -> None:
    """Replaces guard and lock in a forked child: the guard and the lock's holder aren't its own."""
    global _guard, _lock
    _guard, _lock = None, allocate_lock()


os.register_at_fork(after_in_child=_forget)


def _start() -> socket:
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
