"""The peak memory of a command that runs a container: of each process that it starts.

They are traced, so that none is missed, however short its life: ptrace(2) follows every fork, and
stops a process at its end, with its memory still there. What is traced is slow, but no larger.

It is VmHWM of /proc/PID/status. Only what a process was before its last exec is not in it, and that
counts for the container's init, which becomes the command: there it is ru_maxrss, the greater of
both. (Elsewhere ru_maxrss would be wrong: after a vfork it has the parent's memory, too.)
"""

import ctypes
import os
import signal
from collections.abc import Sequence

TRACEME, CONT, SETOPTIONS = 0, 7, 0x4200
FOLLOW = 0x2 | 0x4 | 0x8 | 0x40 | 0x100000  # TRACEFORK, VFORK, CLONE, EXIT; EXITKILL
EVENT_EXIT = 6
WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


def peaks(command: Sequence[str], name: str) -> list[float]:
    """MiB of each process of `command`, which must end well; `name` is of the container's own."""
    first = os.fork()
    if first == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        _libc.ptrace(TRACEME, 0, None, None)
        os.execvp(command[0], command)
    os.waitpid(first, 0)
    _libc.ptrace(SETOPTIONS, first, None, FOLLOW)
    _libc.ptrace(CONT, first, None, None)
    found: dict[int, float] = {}
    inits = set()
    status = 1
    while True:
        try:
            pid, state, usage = os.wait4(-1, WALL)
        except ChildProcessError:
            break
        if not os.WIFSTOPPED(state):
            if pid in inits:
                found[pid] = usage.ru_maxrss / 1024
            if pid == first:
                status = state
            continue
        if state >> 16 == EVENT_EXIT:
            about = _status(pid)
            process = int(about["Tgid"])
            if "VmHWM" in about:
                found[process] = max(found.get(process, 0), int(about["VmHWM"].split()[0]) / 1024)
            if about["Name"] == name:
                inits.add(pid)
        number = os.WSTOPSIG(state)
        # A stop of ptrace's own (an event, a new process) is none that the process should see.
        passed = 0 if number in (signal.SIGTRAP, signal.SIGSTOP) else number
        _libc.ptrace(CONT, pid, None, passed)
    if status:
        raise SystemExit(f"{' '.join(command)}: status {status}")
    return list(found.values())


def _status(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status") as file:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in file)}


if __name__ == "__main__":
    import sys

    print(*(f"{peak:.2f}" for peak in peaks(sys.argv[2:], sys.argv[1])))
