"""Output to a descriptor of the host that may be slow, without losing a byte.

A writer waits until its bytes are taken, which is what holds a flooding guest back, but
no longer than the run lasts.

Source: pipe(7), PIPE_BUF; poll(2).
"""

from __future__ import annotations

import errno
import os
import select

from ringlet.errors import RingletError
from ringlet.host.descriptor import own_descriptor

# A blocking pipe that polls as writable takes this much without blocking.
_PIPE_BUF = select.PIPE_BUF


class OutputClosedError(RingletError):
    """Whoever read the guest's output has gone: a closed pipe, a terminal that hung up."""


class FdOutput:
    """Writes to the file of `fd`, which stays the caller's; `close` closes what this opened."""

    def __init__(self, fd: int, stop_fd: int) -> None:
        self._fd, self._may_block = own_descriptor(fd, os.O_WRONLY)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)
        self._poll.register(stop_fd, select.POLLIN)
        self._stop_fd = stop_fd

    def write(self, data: bytes) -> None:
        """Writes all of `data`, or drops the rest if it has to wait while `stop_fd` is readable.

        Raises `OutputClosedError` if nobody can read it any more, `RingletError` if it can't be
        written, such as on a full disk.
        """
        wait = self._may_block
        while True:
            if wait and self._stopped():
                return
            try:
                written = os.write(self._fd, data[:_PIPE_BUF] if self._may_block else data)
            except BlockingIOError:
                wait = True
                continue
            except OSError as error:
                raise _failure(error) from error
            if written == len(data):
                return
            data = data[written:]

    def close(self) -> None:
        """Closes our own descriptor; no `write` after it."""
        os.close(self._fd)

    def _stopped(self) -> bool:
        """Waits for the descriptor; whether it is the end of the run that came."""
        ready = [fd for fd, _ in self._poll.poll()]
        return self._fd not in ready and self._stop_fd in ready


def _failure(error: OSError) -> RingletError:
    if error.errno in (errno.EPIPE, errno.EIO, errno.ECONNRESET):
        return OutputClosedError(
            "the guest's output has no reader any more",
            "keep the reader running, or send the output to a file with --serial FILE",
        )
    return RingletError(
        f"can't write the guest's output: {error.strerror}",
        "make room there, or send it elsewhere with --serial FILE",
    )
