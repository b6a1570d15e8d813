"""Writes output to a descriptor of the host that may be slow, and loses no byte.

A writer waits until the reader takes its bytes, so that a guest can't write faster than the reader
reads. The wait ends when the run ends.

Source: pipe(7), PIPE_BUF; poll(2).
"""

from __future__ import annotations

import errno
import os
import select

from ringlet.errors import RingletError
from ringlet.host.descriptor import own_descriptor

# A blocking pipe that poll() reports as writable takes this many bytes without blocking.
_PIPE_BUF = select.PIPE_BUF
_IOV_MAX = 1024  # the most buffers of one writev(2)


class OutputClosedError(RingletError):
    """The guest's output has no reader any more: a closed pipe, or a terminal that hung up."""


class FdOutput:
    """Writes to the file of `fd`, by a descriptor of its own; the caller keeps and closes `fd`."""

    def __init__(self, fd: int, stop_fd: int) -> None:
        self._fd, self._may_block = own_descriptor(fd, os.O_WRONLY)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)
        self._poll.register(stop_fd, select.POLLIN)
        self._stop_fd = stop_fd

    def write(self, data: bytes) -> None:
        """Writes all of `data`, or drops the rest if it has to wait while `stop_fd` is readable.

        Raises `OutputClosedError` if the output has no reader any more, and `RingletError` if a
        write fails, for example on a full disk.
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
        """Closes this object's descriptor. Don't call `write` after that."""
        os.close(self._fd)

    def _stopped(self) -> bool:
        """Waits for the descriptor or the end of the run; returns True for the end of the run."""
        ready = [fd for fd, _ in self._poll.poll()]
        return self._fd not in ready and self._stop_fd in ready


class PolledOutput:
    """Writes to the file of `fd` and never waits; the caller polls `fd`, and keeps and closes it.

    Like `FdOutput`, it has a descriptor of its own.
    """

    def __init__(self, fd: int) -> None:
        self.fd, self._may_block = own_descriptor(fd, os.O_WRONLY)
        self._poll = select.poll()
        self._poll.register(self.fd, select.POLLOUT)

    def write(self, buffers: list[memoryview]) -> int:
        """Writes what the reader takes now; returns how many bytes that is.

        Raises the same exceptions as `FdOutput.write`.
        """
        try:
            if not self._may_block:
                return os.writev(self.fd, buffers[:_IOV_MAX])
            if self._poll.poll(0):
                return os.write(self.fd, buffers[0][:_PIPE_BUF])
        except BlockingIOError:
            pass
        except OSError as error:
            raise _failure(error) from error
        return 0

    def close(self) -> None:
        """Closes this object's descriptor. Don't call `write` after that."""
        os.close(self.fd)


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
