"""Containers that end with the process that made them, however it ends.

No process of a container can be trusted with that: PR_SET_PDEATHSIG goes by the thread that made
it, and the kernel takes it back when a program changes its user. So the first container of a
process brings along a guard, the helper in another part (csrc/container/container.c), which is
given each container's descriptor and kills them once that process is gone.

Source: pidfd_open(2), unix(7), PR_SET_PDEATHSIG(2const).
"""

import os
from _socket import AF_UNIX, SOCK_SEQPACKET, SOL_SOCKET, socket, socketpair
from _thread import allocate_lock

SCM_RIGHTS = 1

_lock = allocate_lock()
_guard: tuple[int, socket] | None = None  # whose it is, and the way to it


def watch(pid: int) -> None:
    """The child `pid` is killed when this process ends. Raises LaunchError."""
    global _guard
    pidfd = os.pidfd_open(pid)
    try:
        with _lock:
            if _guard is None or _guard[0] != os.getpid():  # of the process we are forked from
                _guard = os.getpid(), _start()
            try:
                _give(_guard[1], pidfd)
            except BrokenPipeError:  # someone has killed it
                _guard = os.getpid(), _start()
                _give(_guard[1], pidfd)
    finally:
        os.close(pidfd)


def _give(connection: socket, pidfd: int) -> None:
    connection.sendmsg([b"W"], [(SOL_SOCKET, SCM_RIGHTS, pidfd.to_bytes(4, "little"))])


def _start() -> socket:
    from ringlet.container.launch import run_alone
    from ringlet.container.plan import Descriptors, Plan

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
