"""Seccomp profiles, and code that runs under their filters, in child processes of its own."""

import ctypes
import mmap
import os
import signal
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from ringlet.container.seccomp.filter import Filter

if TYPE_CHECKING:
    from ringlet.container.spec.types import Seccomp, SeccompArg, SeccompSyscall

GETPPID, GETPID, UNAME, MKDIR = 110, 39, 63, 83
X32 = 1 << 30
NEWER = 100_000  # than any system call there is
# what Python needs to report, where all else is refused
NEEDED = ["write", "exit_group", "brk", "mmap", "munmap", "mremap", "madvise", "futex", "getpid"]
KILLED = f"signal {signal.SIGSYS.value}"

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
_PR_SET_NO_NEW_PRIVS = 38
_SYS_SECCOMP = 317
_SET_MODE_FILTER = 1
_I386_SOCKETCALL = 102
_SECONDS = 20


def rule(name: str, action: str, **more: object) -> "SeccompSyscall":
    return {"names": [name], "action": f"SCMP_ACT_{action}", **more}  # type: ignore[typeddict-item]


def refusing(*rules: "SeccompSyscall") -> "Seccomp":
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": list(rules)}


def allowing(*names: str, default: str = "ERRNO", **more: object) -> "Seccomp":
    return {
        "defaultAction": f"SCMP_ACT_{default}",
        "syscalls": [{"names": [*NEEDED, *names], "action": "SCMP_ACT_ALLOW"}],
        **more,  # type: ignore[typeddict-item]
    }


def argument(operator: str, index: int, value: int, value_two: int = 0) -> "SeccompArg":
    return {"index": index, "value": value, "valueTwo": value_two, "op": f"SCMP_CMP_{operator}"}


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install(filter: Filter) -> int:
    """For this process and its children to come. What seccomp(2) returns: the listener, or 0."""
    program = _Program(len(filter.program) // 8, filter.program)
    assert _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    result = call(_SYS_SECCOMP, _SET_MODE_FILTER, filter.flags, ctypes.addressof(program))
    assert result >= 0, os.strerror(-result)
    return result


def call(number: int, *arguments: int) -> int:
    """The system call's result, or the negative errno."""
    ctypes.set_errno(0)
    result = int(_LIBC.syscall(ctypes.c_long(number), *map(ctypes.c_ulong, arguments)))
    return -ctypes.get_errno() if result == -1 else result


def run(code: Callable[[], str]) -> str:
    """What `code` returns in a child process; "signal N" where that kills it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                signal.alarm(_SECONDS)
                result = code().encode()
                os.write(theirs.fileno(), result)
                status = 0
            finally:
                os._exit(status)
        theirs.close()
        status = os.waitpid(pid, 0)[1]
        if os.WIFSIGNALED(status):
            return f"signal {os.WTERMSIG(status)}"
        assert status == 0
        return ours.recv(1 << 16).decode()


def results(filter: Filter, *calls: tuple[int, ...]) -> list[int]:
    """What these system calls return under `filter`."""

    def code() -> str:
        install(filter)
        return " ".join([str(call(*one)) for one in calls])

    return [int(word) for word in run(code).split()]


# mov eax, edi; mov ebx, esi; xchg ecx, edx; int 0x80; rbx is the caller's
_INT_80 = bytes.fromhex("53 89f8 89f3 87d1 cd80 5b c3")
_MAP_32BIT = 0x40
_ROOM = mmap.PAGESIZE * 3 // 4


class Int80:
    """System calls of 32-bit x86, which a 64-bit process can make too."""

    def __init__(self) -> None:
        self._page = mmap.mmap(
            -1,
            mmap.PAGESIZE,
            flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_32BIT,
            prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC,
        )
        self._page.write(_INT_80)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        self._call = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_uint] * 4)(self._address)

    def __call__(self, number: int, first: int = 0, second: int = 0, third: int = 0) -> int:
        return int(self._call(number, first, second, third))

    def socketcall(self, kind: int, *arguments: int) -> int:
        """The arguments lie in memory; the last one may be a place there that has room."""
        at = mmap.PAGESIZE // 2
        self._page[at : at + 4 * len(arguments)] = struct.pack(f"={len(arguments)}I", *arguments)
        return self(_I386_SOCKETCALL, kind, self._address + at)

    @property
    def room(self) -> int:
        return self._address + _ROOM

    def pair(self) -> tuple[int, int]:
        """The two numbers that the kernel has put there."""
        first, second = struct.unpack_from("=2I", self._page, _ROOM)
        return first, second


def has_int_80() -> bool:
    """Whether the kernel has 32-bit system calls."""
    return run(lambda: str(Int80()(20) > 0)) == "True"
