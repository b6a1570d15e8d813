"""Who writes to an image has it alone; who reads one knows that nobody writes.

The locks are QEMU's, so this holds between the two programs as well. A byte from 100 on stands for
each thing that is done to an image, one from 200 on for each that others may not do meanwhile.
All locks on them are a reader's, which can't conflict: each program takes its own, then looks
for those of others that rule it out. Of two that come at the same moment, neither may get in.

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
    """Locks the file for as long as it is open.

    Raises `ConfigError` where another program's use rules that out. On a file system without
    locks a reader goes on, for it can do no harm, and a writer is refused.
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
            taken = True  # a writer's lock, of some other program
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
    """Whether another has any lock on it: a writer's would have to wait."""
    found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK, byte))
    return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)


def _flock(kind: int, byte: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0)
