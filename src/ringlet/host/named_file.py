"""Reads a file that a user names, whole and up to a limit, and checks the owner of a file.

`read_named` accepts regular files only: a FIFO would wait for a writer, and a device may have no
end. A descriptor that this process inherits (standard input, a shell's `<(command)`) may be a pipe,
because its other end has a writer.

Source: open(2), O_NONBLOCK; fifo(7); inode(7), the sticky bit; proc_pid_fd(5).
"""

from __future__ import annotations

import errno
import os
from stat import S_ISDIR, S_ISREG, S_ISVTX

_GIVEN = ("/dev/fd/", "/proc/self/fd/")


def read_named(path: str, most: int) -> bytes:
    """Returns the contents of the file, at most `most` bytes.

    Raises `OSError` if the file is larger or can't be read; the error says why.
    """
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
    """Returns whether this user or root owns the file, so that no other owner can change it."""
    return status.st_uid in (0, os.geteuid())


def keeps_names(status: os.stat_result) -> bool:
    """Returns whether no other user can rename or replace this user's or root's files in it.

    `status` is the status of a folder.
    """
    private = not status.st_mode & 0o022 or status.st_mode & S_ISVTX
    return is_ours_or_roots(status) and bool(private)


def _check_kind(mode: int, path: str) -> None:
    if S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not S_ISREG(mode):
        raise OSError(errno.EINVAL, "it isn't a regular file", path)


def _given(path: str) -> int | None:
    """Returns the descriptor of this process that the path names; None for an ordinary path."""
    if path == "/dev/stdin":
        return 0
    for folder in _GIVEN:
        number = path.removeprefix(folder)
        if number != path and number.isascii() and number.isdecimal() and len(number) < 10:
            return int(number)
    return None
