"""The files and folders that the guest has open.

Several threads read and write, so a descriptor that the guest gives back is closed by its last
user: its number could be another file's meanwhile.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from threading import Lock

from ringlet.closing import Closing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class Handle:
    """An open file or folder; `reader` holds what folders.py needs."""

    __slots__ = ("closing", "fd", "reader", "users")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.users = 0
        self.closing = False
        self.reader: Any = None


class Handles(Closing):
    """At most `limit` handles, each with a number for the guest."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = Lock()
        self._handles: dict[int, Handle] = {}
        self._next = 1

    def add(self, fd: int) -> int:
        """Takes over a descriptor, and returns its handle's number. Raises OSError."""
        with self._lock:
            if len(self._handles) >= self._limit:
                os.close(fd)
                raise OSError(errno.ENFILE, "the guest has too many files open")
            number, self._next = self._next, self._next + 1
            self._handles[number] = Handle(fd)
        return number

    @contextmanager
    def use(self, number: int) -> Iterator[Handle]:
        """Gives a handle, whose descriptor stays open meanwhile. Raises OSError (EBADF)."""
        with self._lock:
            handle = self._handles.get(number)
            if handle is None:
                raise OSError(errno.EBADF, "no such handle")
            handle.users += 1
        try:
            yield handle
        finally:
            with self._lock:
                handle.users -= 1
                if handle.closing and not handle.users:
                    self._close(handle)

    def release(self, number: int) -> None:
        """Closes a handle as soon as nobody uses it. Raises OSError (EBADF)."""
        with self._lock:
            handle = self._handles.pop(number, None)
            if handle is None:
                raise OSError(errno.EBADF, "no such handle")
            handle.closing = True
            if not handle.users:
                self._close(handle)

    def close(self) -> None:
        """Closes all handles."""
        for number in list(self._handles):
            self.release(number)

    def __len__(self) -> int:
        return len(self._handles)

    @staticmethod
    def _close(handle: Handle) -> None:
        if handle.reader is not None:
            handle.reader.close()
        os.close(handle.fd)
