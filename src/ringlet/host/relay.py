"""Moves bytes from one descriptor to another.

Each relay holds a bounded number of bytes, so a slow reader makes the writer wait, as with a pipe.
A relay is a part (polling.py), so only `drain` waits.

Source: poll(2); pipe(7), PIPE_BUF.
"""

from __future__ import annotations

import os
import select

from ringlet.closing import Closing
from ringlet.host.descriptor import own_descriptor
from ringlet.host.polling import wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.host.polling import Part, Ready

LIMIT = 256 << 10  # how many bytes a relay holds by default
_LAST = 1 << 20  # bytes: more than a pipe or a terminal holds
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR
_WRITABLE = select.POLLOUT | select.POLLHUP | select.POLLERR


class Relay(Closing):
    """Moves bytes from `source` through `edit` to `sink`; the caller keeps both descriptors.

    At the end of `source`, the relay calls `edit` with b"", and moves the result last.

    read     the number of bytes to write so far, after `edit`
    written  the number of bytes written so far
    at_end   whether the source has no more bytes
    paused   while this is True, the relay doesn't read
    """

    def __init__(
        self,
        source: int,
        sink: int,
        edit: Callable[[bytes], bytes] = lambda data: data,
        *,
        limit: int = LIMIT,
    ) -> None:
        self._source, _ = own_descriptor(source, os.O_RDONLY)
        try:
            self._sink, self._may_block = own_descriptor(sink, os.O_WRONLY)
        except OSError:
            os.close(self._source)
            raise
        self._edit = edit
        self._limit = limit
        self._held = bytearray()
        self.paused = False
        self.at_end = False
        self.read = 0
        self.written = 0

    def close(self) -> None:
        """Closes the relay's own descriptors."""
        os.close(self._source)
        os.close(self._sink)

    @property
    def idle(self) -> bool:
        """Whether all bytes that were read are written."""
        return not self._held

    def watch(self) -> list[tuple[int, int]]:
        """Returns the descriptors to poll, with the events after which to call `step`."""
        watched = []
        if not (self.at_end or self.paused) and len(self._held) < self._limit:
            watched.append((self._source, select.POLLIN))
        if self._held:
            watched.append((self._sink, select.POLLOUT))
        return watched

    def step(self, ready: Ready) -> None:
        """Reads and writes without waiting. Raises OSError if the sink takes no more."""
        if ready.get(self._source, 0) & _READABLE:
            self._read()
        if self._held and ready.get(self._sink, 0) & _WRITABLE:
            # A blocking pipe that poll() reports as writable takes PIPE_BUF bytes without blocking.
            size = select.PIPE_BUF if self._may_block else self._limit
            try:
                written = os.write(self._sink, self._held[:size])
            except BlockingIOError:
                return
            del self._held[:written]
            self.written += written

    def drain(self, *parts: Part) -> None:
        """Moves all bytes that can be read now, and waits until the sink has taken them.

        Another program may go on writing to the source, so `drain` reads about `_LAST` bytes at
        most. Meanwhile, `drain` polls for `parts`; one of them may `drop` the rest.
        """
        end = self.read + _LAST
        while self.watch():
            ready = wait([self, *parts], None if self._held else 0)
            if not ready:
                break
            for part in (self, *parts):
                part.step(ready)
            self.paused = self.paused or self.read >= end

    def drop(self) -> None:
        """Drops the bytes that aren't written yet, and reads no more."""
        self._held.clear()
        self.at_end = True

    def _read(self) -> None:
        try:
            data = os.read(self._source, self._limit - len(self._held))
        except BlockingIOError:
            return
        except OSError:  # a terminal that hung up, a connection that was reset
            data = b""
        self.at_end = not data
        data = self._edit(data)
        self._held += data
        self.read += len(data)
