"""A program's end of the guest's serial line."""

from __future__ import annotations

import os

from ringlet.closing import Closing
from ringlet.host.descriptor import close_all


class SerialPort(Closing):
    """A program's end of the serial line, two pipes, for a machine whose serial is `pipe`.

    A pipe holds a bounded number of bytes: when it is full, the guest waits until the program
    reads.
    """

    def __init__(self) -> None:
        guest_in, self._to_guest = os.pipe()
        try:
            self._from_guest, guest_out = os.pipe()
        except OSError:
            close_all((guest_in, self._to_guest))
            raise
        self.guest_end: tuple[int, ...] = (guest_in, guest_out)

    def write(self, data: bytes) -> None:
        """Sends `data` to the guest. Waits while the guest's FIFO and the pipe are full."""
        while data:
            data = data[os.write(self._to_guest, data) :]

    def read(self, size: int = 65536) -> bytes:
        """Returns at most `size` bytes of the guest's output; b"" at the end of the run.

        Waits for the first byte.
        """
        return os.read(self._from_guest, size)

    def read_until(self, end: bytes) -> bytes:
        """Returns the guest's output up to and including `end`, or up to the end of the run."""
        data = b""
        while not data.endswith(end) and (byte := self.read(1)):
            data += byte
        return data

    def fileno(self) -> int:
        """Returns a descriptor that is readable when the guest has sent bytes."""
        return self._from_guest

    def hang_up(self) -> None:
        """Closes the guest's end of both pipes: a read sees the end, a write a broken pipe."""
        ends, self.guest_end = self.guest_end, ()
        for fd in ends:
            os.close(fd)

    def close(self) -> None:
        """Closes both pipes."""
        self.hang_up()
        fds = self._to_guest, self._from_guest
        self._to_guest = self._from_guest = -1  # from now on, other files may get these numbers
        for fd in fds:
            os.close(fd)
