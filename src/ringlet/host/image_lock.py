"""Locks an image: one program may write to the image, or several programs may read it.

The locks are the same as QEMU's, so they also work between ringlet and QEMU. Each byte of the file
from 100 on stands for an operation that a program does on the image. Each byte from 200 on stands
for an operation that other programs must not do meanwhile. All locks on these bytes are read locks,
which don't conflict. Each program first takes its own locks, and then looks for locks of other
programs that forbid its operations. If two programs start at the same moment, both may fail.

Source: fcntl_locking(2), "Open file description locks"; QEMU, block/file-posix.c.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from ringlet.errors import ConfigError

_DONE, _REFUSED = 100, 200
_READ, _WRITE, _RESIZE = 0, 1, 3
_FLOCK = struct.Struct("hhqqi0q")  # type, whence, start, length, process


def lock_image(fd: int, name: str, *, readonly: bool) -> None:
    """Locks the image for as long as the file is open.

    Raises `ConfigError` if another program uses the image in a way that conflicts. On a file system
    without locks, a reader goes on, because it does no harm, and a writer gets a `ConfigError`.
    """
    done = (_READ,) if readonly else (_READ, _WRITE)
    refused = (_WRITE, _RESIZE)
    try:
        for byte in (*(_DONE + it for it in done), *(_REFUSED + it for it in refused)):
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_RDLCK, byte))
        taken = any(
            _is_locked(fd, byte)
            for byte in (*(_REFUSED + it for it in done), *(_DONE + it for it in refused))
        )
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            taken = True  # another program, which isn't QEMU or ringlet, has a write lock
        elif readonly:
            return
        else:
            raise ConfigError(
                f"{name} can't be locked against other programs: {error.strerror}",
                "move it to another file system, or make it readonly or a snapshot",
            ) from error
    if taken:
        raise ConfigError(
            f"{name} is {'written to' if readonly else 'in use'} by another program",
            f"end that one, `fuser -v {name}` shows it; or take a copy",
        )


def _is_locked(fd: int, byte: int) -> bool:
    """Returns whether another program has a lock on the byte: a write lock would conflict."""
    found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK, byte))
    return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)


def _flock(kind: int, byte: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0)
