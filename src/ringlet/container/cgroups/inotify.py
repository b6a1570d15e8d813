"""Tells when the kernel has changed a file of a version 2 cgroup.

Source: inotify(7); the kernel's admin-guide/cgroup-v2.rst, "Core Interface Files".
"""

from __future__ import annotations

import ctypes
import os

_IN_MODIFY = 0x2


def watch(path: str) -> int:
    """Returns a non-blocking descriptor that is readable after each change. Raises `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0:
        raise _error()
    if libc.inotify_add_watch(fd, os.fsencode(path), _IN_MODIFY) < 0:
        error = _error()
        os.close(fd)
        raise error
    return fd


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
