"""The descriptors 0, 1 and 2, as whoever started this process left them."""

from __future__ import annotations

import os


def fill_standard_streams() -> None:
    """Makes /dev/null of a stream that is closed, before the next file that is opened becomes it.

    Raises OSError on a system without /dev/null.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one


def find_terminal() -> int | None:
    """Standard input, or else standard output, if it is a terminal: its window is the user's."""
    return next((fd for fd in (0, 1) if os.isatty(fd)), None)
