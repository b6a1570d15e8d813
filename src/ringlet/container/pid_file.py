"""Writes the file from which a container engine reads a process id: `--pid-file`."""

from __future__ import annotations

import os


def write_pid(path: str, pid: int) -> None:
    """Writes the file, as a whole or not at all; other users may be able to write to its folder.

    The file has a random name at first: nobody can put a link or another file there.
    """
    new = os.path.join(os.path.dirname(path), f".ringlet-{os.urandom(8).hex()}")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        os.write(fd, str(pid).encode())
        os.rename(new, path)
    except BaseException:
        os.unlink(new)
        raise
    finally:
        os.close(fd)
