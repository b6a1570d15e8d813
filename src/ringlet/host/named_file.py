"""Files that somebody names for ringlet: read whole, to a bound, never waiting; and whose they are.

A FIFO would wait for a writer, and a device may have no end. A descriptor that this process was
given (standard input, a shell's `<(command)`) may be a pipe: whoever gave it writes to it.

Source: open(2), O_NONBLOCK; fifo(7); inode(7), the sticky bit; proc_pid_fd(5).
"""

from __future__ import annotations

import errno
import os
from stat import S_ISDIR, S_ISREG, S_ISVTX

_GIVEN = ("/dev/fd/", "/proc/self/fd/")


def read_named(path: str, most: int) -> bytes:
    """What is in the file, `most` bytes at most. Raises `OSError` that says why it can't be."""
    number = _given(path)
    if number is not None:
        fd = os.dup(number)
    elif "\0" in path:
        raise OSError(errno.EINVAL, "there is a zero byte in its name", path)
    else:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        if number is None:
            _check_kind(os.fstat(fd).st_mode, path)
        parts = []
        left = most + 1
        while left and (part := os.read(fd, min(left, 1 << 16))):
            parts.append(part)
            left -= len(part)
        if not left:
            raise OSError(errno.EFBIG, f"it has more than {most} bytes", path)
        return b"".join(parts)
    finally:
        os.close(fd)


def is_ours_or_roots(status: os.stat_result) -> bool:
    """Whether no other user decides on what is in it, by owning it."""
    return status.st_uid in (0, os.geteuid())


def keeps_names(status: os.stat_result) -> bool:
    """Whether in this folder nobody else can exchange what is this user's, or root's."""
    private = not status.st_mode & 0o022 or status.st_mode & S_ISVTX
    return is_ours_or_roots(status) and bool(private)


def _check_kind(mode: int, path: str) -> None:
    if S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not S_ISREG(mode):
        raise OSError(errno.EINVAL, "it isn't a regular file", path)


def _given(path: str) -> int | None:
    """The descriptor of ours that the path is a name of; None if it is a path as others are."""
    if path == "/dev/stdin":
        return 0
    for folder in _GIVEN:
        number = path.removeprefix(folder)
        if number != path and number.isascii() and number.isdecimal() and len(number) < 10:
            return int(number)
    return None
