"""Makes descriptors of ringlet's own for files that ringlet shares with other processes.

Standard input and output are usually open file descriptions that the shell and the other programs
of a pipeline use, too. So ringlet must not set O_NONBLOCK on them: the other programs would get
O_NONBLOCK, too. To open the same pipe or terminal again through /proc makes an open file
description that only ringlet uses.

Source: open(2), "Open file descriptions"; proc(5), /proc/pid/fd.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_PTMX = os.makedev(5, 2)  # opening it again would make another pseudo-terminal


def own_descriptor(fd: int, access: int) -> tuple[int, bool]:
    """Returns a new descriptor for the file of `fd`, and whether reads and writes may block.

    `access` is os.O_RDONLY or os.O_WRONLY. Reads and writes may block if the file can't be opened
    again (a socket, no /proc, no permission). A regular file, or a device that isn't a terminal,
    counts as a file that never blocks; the new descriptor shares its file offset. Raises OSError.
    """
    if os.get_blocking(fd):
        status = os.fstat(fd)
        waits = not stat.S_ISREG(status.st_mode)
        if stat.S_ISCHR(status.st_mode):
            waits = os.isatty(fd)
        if waits:
            if stat.S_ISFIFO(status.st_mode) or (os.isatty(fd) and status.st_rdev != _PTMX):
                try:
                    return os.open(
                        f"/proc/self/fd/{fd}", access | os.O_NONBLOCK | os.O_NOCTTY
                    ), False
                except OSError:
                    pass
            return os.dup(fd), True
    return os.dup(fd), False


def eventfds(*counts: int, flags: int = os.EFD_CLOEXEC) -> list[int]:
    """Makes an eventfd for each initial count. If one fails, closes the others.

    Raises OSError.
    """
    made: list[int] = []
    try:
        for count in counts:
            made.append(os.eventfd(count, flags))
    except OSError:
        close_all(made)
        raise
    return made


def close_all(fds: Iterable[int]) -> None:
    """Closes each of these descriptors."""
    for fd in fds:
        os.close(fd)
