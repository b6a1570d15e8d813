"""A program as the far end of the guest's serial line."""

from __future__ import annotations

import os

from ringlet.closing import Closing
from ringlet.host.descriptor import close_all


class SerialPort(Closing):
    """A program's end of the serial line, two pipes: what a machine whose serial is `pipe` has.

    The pipes bound what waits in them: a guest that floods one is held until it is read.
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
        """Send `data` to the guest. Waits while the guest's FIFO and the pipe are full."""
        while data:
            data = data[os.write(self._to_guest, data) :]

    def read(self, size: int = 65536) -> bytes:
        """What the guest sent, at most `size` bytes. Waits for the first; empty at the end."""
        return os.read(self._from_guest, size)

    def read_until(self, end: bytes) -> bytes:
        """What the guest sent up to and with `end`, or up to the end of the run."""
        data = b""
        while not data.endswith(end) and (byte := self.read(1)):
            data += byte
        return data

    def fileno(self) -> int:
        """Readable when there is something to read."""
        return self._from_guest

    def hang_up(self) -> None:
        """The guest's end of both pipes goes: readers see the end, writers a broken pipe."""
        ends, self.guest_end = self.guest_end, ()
        for fd in ends:
            os.close(fd)

    def close(self) -> None:
        """Close both pipes."""
        self.hang_up()
        fds = self._to_guest, self._from_guest
        self._to_guest = self._from_guest = -1  # the numbers may be others' from now on
        for fd in fds:
            os.close(fd)
