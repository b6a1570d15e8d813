"""Counts the system calls of a process, by tracing the process.

Source: ptrace(2), PTRACE_SEIZE and PTRACE_GET_SYSCALL_INFO (Linux 5.3).
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

from ringlet.compare.ways import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SYSCALL = 24
_SEIZE = 0x4206
_INTERRUPT = 0x4207
_GET_SYSCALL_INFO = 0x420E
_TRACESYSGOOD = 1
_SYSCALL_STOP = signal.SIGTRAP | 0x80
_ENTRY = 1  # PTRACE_SYSCALL_INFO_ENTRY, the first byte of struct ptrace_syscall_info
_PAUSE = 0.0002  # seconds


def count(pid: int, begin: Callable[[], None], timeout: float = 10) -> int:
    """Returns how many system calls a process makes from `begin` to its end.

    Before the call of `count`, the process sleeps in a system call, which `begin` ends. The count
    includes this system call. Raises `Unavailable` if the process can't be traced, or doesn't end
    within `timeout` seconds.
    """
    # The kernel accepts ptrace requests only from the tracing thread. When this thread ends, the
    # kernel detaches it from the process in every case.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_count, pid, begin, time.monotonic() + timeout).result()


def _count(pid: int, begin: Callable[[], None], deadline: float) -> int:
    _ptrace(_SEIZE, pid, 0, _TRACESYSGOOD)
    _ptrace(_INTERRUPT, pid)
    _next_stop(pid, deadline)  # the stop in the call in which the process sleeps
    begin()
    _ptrace(_SYSCALL, pid)
    calls = 0
    while (stop := _next_stop(pid, deadline)) is not None:
        if stop == _SYSCALL_STOP:
            info = ctypes.create_string_buffer(1)
            _ptrace(_GET_SYSCALL_INFO, pid, len(info), ctypes.addressof(info))
            calls += info.raw[0] == _ENTRY
        # A signal for the process is passed on. SIGTRAP with an event in its upper bits is for the
        # tracer alone.
        is_signal = stop != _SYSCALL_STOP and stop >> 8 == 0
        _ptrace(_SYSCALL, pid, 0, stop if is_signal else 0)
    return calls


def _next_stop(pid: int, deadline: float) -> int | None:
    """Returns the status of the next stop, or None if the process has ended.

    The exit status stays available to the process's parent.
    """
    while True:
        try:
            found = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return None
        if found is not None:
            if found.si_code in (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED):
                return None
            # Without this call, the stop would become a signal to the process on a detach.
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG)
            return found.si_status
        if time.monotonic() > deadline:
            raise Unavailable("the traced process doesn't end", "try it again on an idle machine")
        time.sleep(_PAUSE)


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (ctypes.c_long(pid), ctypes.c_void_p(address), ctypes.c_void_p(data))
    if libc.ptrace(ctypes.c_long(request), *arguments) == -1:
        number = ctypes.get_errno()
        raise Unavailable(
            f"no system call can be traced here: {os.strerror(number)}",
            "allow ptrace: be root, or look at /proc/sys/kernel/yama/ptrace_scope",
        )
