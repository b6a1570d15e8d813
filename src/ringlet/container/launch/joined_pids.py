"""Looks for processes in a PID namespace that could take over a process which joins it.

Before Linux 6.17 procfs shows the PID namespace of the process that mounts it. So a process with
all rights is in the joined namespace for a moment. In that moment, a process in that namespace
that has CAP_SYS_PTRACE over this process's user namespace could take over the process with all
rights.

Source: ptrace(2), "Ptrace access mode checking"; Linux 6.17, Documentation/filesystems/proc.rst
("pidns").
"""

from __future__ import annotations

import os

from ringlet.container.spec.config_json import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.container.spec.types import Config

_MAKES_IT_FROM_OUTSIDE = (6, 17)
_CAP_SYS_PTRACE = 1 << 19


def check(config: Config, path: str) -> None:
    """Raises SpecError if it isn't safe to mount procfs for the PID namespace at `path`."""
    if not any(mount.get("type") == "proc" for mount in config.get("mounts", ())):
        return
    if _release() >= _MAKES_IT_FROM_OUTSIDE:
        return
    if has_tracer(path):
        raise SpecError(
            "linux.namespaces: pid: a process in there has CAP_SYS_PTRACE, and before Linux 6.17 "
            "could take over the one that makes procfs",
            "take CAP_SYS_PTRACE from the container that is joined, or leave out the proc mount",
        )


def has_tracer(path: str) -> bool:
    """Returns whether a process in the PID namespace at `path` has or may get CAP_SYS_PTRACE.

    Only processes in this process's user namespace count, and no namespace that is ours.
    """
    try:
        theirs, ours = os.stat(path), os.stat("/proc/self/ns/pid")
    except OSError:  # the step that joins the namespace reports this error
        return False
    return not os.path.samestat(theirs, ours) and any(map(_may_trace, _processes(theirs)))


def _release() -> tuple[int, ...]:
    return tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2])


def _processes(namespace: os.stat_result) -> list[str]:
    """Returns the processes in the PID namespace whose user namespace is ours."""
    return [
        pid
        for pid in os.listdir("/proc")
        if pid.isdecimal()
        and _is_in(pid, "pid", namespace)
        and _is_in(pid, "user", os.stat("/proc/self/ns/user"))
    ]


def _is_in(pid: str, kind: str, namespace: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/ns/{kind}"), namespace)
    except OSError:  # the process has ended
        return False


def _may_trace(pid: str) -> bool:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return False
    return any(_thread_may_trace(f"/proc/{pid}/task/{thread}/status") for thread in threads)


def _thread_may_trace(status: str) -> bool:
    """Returns whether a thread may trace: the first thread of a process may have given it up."""
    try:
        with open(status) as file:
            lines = [line.split() for line in file]
    except OSError:
        return False
    return any(
        int(line[1], 16) & _CAP_SYS_PTRACE
        for line in lines
        if line[0] in ("CapInh:", "CapPrm:", "CapBnd:", "CapAmb:")
    )
