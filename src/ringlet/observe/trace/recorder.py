"""Writes a trace to a file, a pipe or a terminal, from memory that is bounded.

The thread that sees the events formats them. A thread of the recorder writes, so that a slow
reader doesn't slow down what is traced. If the reader is too slow, the buffer fills up; events
that have no room are counted, and the trace says how many are missing and where.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from select import POLLOUT, poll
from threading import Condition, Thread

from ringlet.closing import Closing
from ringlet.errors import RingletError
from ringlet.host.thread import start_without_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ringlet.observe.trace.events import Event
    from ringlet.observe.trace.formats.format import Format
    from ringlet.observe.trace.summary import Summary

BUFFER = 100_000  # events


class TraceClosedError(RingletError):
    """Nobody reads the trace any more."""

    status = 141  # as for the guest's output


class Recorder(Closing):
    """Writes a trace as `format` to the descriptor `fd`, which the recorder closes.

    At most `limit` events wait in memory. If a write fails, the recorder calls `on_error` once, on
    its thread, and drops everything from then on; `finish` raises the error.
    """

    def __init__(
        self,
        format: Format,
        fd: int,
        *,
        limit: int = BUFFER,
        on_error: Callable[[], object] = lambda: None,
    ) -> None:
        self._format = format
        self._fd = fd
        self._limit = limit
        self._on_error = on_error
        self.missing = 0  # events for which there was no room
        self._gap = 0  # those of them that the trace doesn't tell of yet
        self._waiting = 0  # events in `_chunks` and in the write that is under way
        self._chunks: deque[tuple[bytes, int]] = deque()
        self._changed = Condition()
        self._ends = False
        self._error: RingletError | None = None
        self._thread = Thread(target=self._write_all, name="ringlet-trace", daemon=True)
        self._put(format.begin(), 0)
        try:
            start_without_signals(self._thread)
        except BaseException:
            os.close(fd)
            raise

    def take(self, events: Sequence[Event]) -> None:
        """Takes a batch of events, as many as there is room for. Doesn't wait for the reader."""
        room = max(self._limit - self._waiting, 0)
        lost = max(len(events) - room, 0)
        if room and events:
            data = b""
            if self._gap:
                data, self._gap = self._format.gap(self._gap), 0
            some = events[:room] if lost else events
            self._put(data + self._format.events(some), len(some))
        self.missing += lost
        self._gap += lost

    def finish(self, summary: Summary) -> None:
        """Writes the summary, and waits until all is written. Raises the error of a write."""
        summary.missing = self.missing
        gap = self._format.gap(self._gap) if self._gap else b""
        self._put(gap + self._format.end(summary), 0)
        self.close()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Waits until all is written, and closes the descriptor. A second call does nothing."""
        with self._changed:
            self._ends = True
            self._changed.notify()
        self._thread.join()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _put(self, data: bytes, count: int) -> None:
        with self._changed:
            if self._error is None:
                self._chunks.append((data, count))
                self._waiting += count
                self._changed.notify()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._chunks or self._ends)
                if not self._chunks:
                    return
                data, count = self._chunks.popleft()
            try:
                self._write(data)
            except OSError as error:
                self._fail(error)
            with self._changed:
                self._waiting -= count

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # another program has made the pipe non-blocking
                waiting = poll()
                waiting.register(self._fd, POLLOUT)
                waiting.poll()

    def _fail(self, error: OSError) -> None:
        with self._changed:
            self._chunks.clear()
            if error.errno in (errno.EPIPE, errno.EIO, errno.ECONNRESET):
                self._error = TraceClosedError(
                    "the reader of the trace has gone", "send the trace to a file: --output FILE"
                )
            else:
                self._error = RingletError(
                    f"can't write the trace: {error.strerror}",
                    "make room there, or name another file with --output",
                )
        self._on_error()
