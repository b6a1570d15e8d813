"""Descriptors of our own for what other processes share with us.

Standard input and output are usually one open file description with the shell and the rest
of a pipeline, so O_NONBLOCK may not be set on them: everyone would get it. Opening the
same pipe or terminal again through /proc gives a description of our own.

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
    """A new descriptor for the file of `fd`, and whether using it may block.

    `access` is os.O_RDONLY or os.O_WRONLY. It may block where it can't be opened again (a
    socket, no /proc, no permission); a regular file, or a device that isn't a terminal, never
    makes one wait, so it counts as not blocking and keeps its shared offset. Raises OSError.
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
    """An eventfd for each of the counts that they start with; of a failure, none is left."""
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
