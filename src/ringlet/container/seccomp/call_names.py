"""The names of system calls, of each architecture that a process here can use, by libseccomp.

Source: libseccomp 2.5, seccomp_syscall_resolve_num_arch(3).
"""

from __future__ import annotations

import ctypes

from ringlet.container.seccomp.libseccomp import load

_libc = ctypes.CDLL(None)
_libc.free.argtypes = (ctypes.c_void_p,)

X86, X86_64, X32 = 0x40000003, 0xC000003E, 0x4000003E  # SCMP_ARCH_*
_X32_BIT = 0x40000000


class CallNames:
    """Finds names by numbers, and tells whether a name exists. Raises `RingletError` if it can't.

    That is without a libseccomp.
    """

    def __init__(self) -> None:
        self._library = load()
        self._library.seccomp_syscall_resolve_num_arch.restype = ctypes.c_void_p
        self._library.seccomp_syscall_resolve_num_arch.argtypes = (ctypes.c_uint32, ctypes.c_int)
        self._names: dict[tuple[int, int], str] = {}  # of calls that exist, so there is an end

    def find(self, architecture: int, number: int) -> str:
        """Returns the name of a call that the kernel reports; "" for a number without a name."""
        name = self._names.get((architecture, number))
        if name is None:
            name = self._look_up(architecture, number)
            if name:
                self._names[architecture, number] = name
        return name

    def _look_up(self, architecture: int, number: int) -> str:
        if architecture == X86_64 and number & _X32_BIT:
            architecture = X32
        if not 0 <= number < 1 << 31:
            return ""
        text = self._library.seccomp_syscall_resolve_num_arch(architecture, number)
        if not text:
            return ""
        try:
            return ctypes.string_at(text).decode("ascii")
        finally:
            _libc.free(text)

    def has(self, name: str) -> bool:
        """Returns whether a call of x86-64 has this name."""
        known = name.isascii() and name.isidentifier()
        resolve = self._library.seccomp_syscall_resolve_name_arch
        return known and int(resolve(X86_64, name.encode())) >= 0
