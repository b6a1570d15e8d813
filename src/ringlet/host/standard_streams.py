"""The descriptors 0, 1 and 2 of this process, which may be closed or a terminal."""

from __future__ import annotations

import os


def fill_standard_streams() -> None:
    """Opens /dev/null for each closed stream, so that no other file gets its number.

    Raises OSError on a system without /dev/null.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is `fd`


def find_terminal() -> int | None:
    """Returns 0 or 1, the first of standard input and output that is a terminal; else None."""
    return next((fd for fd in (0, 1) if os.isatty(fd)), None)
