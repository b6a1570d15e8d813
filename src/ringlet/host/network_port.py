"""A network that is a Python object: frames between a guest and the program that runs it."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from threading import Condition

from ringlet.closing import Closing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MOST = 1024  # frames that wait in one direction
_BATCH = 64


class NetworkPort(Closing):
    """The program's end of a guest's network: `MachineConfig(network=NetworkPort())`.

    Any thread may use the port. A frame is bytes, from its Ethernet header on, without a checksum
    at its end. In each direction, at most `MOST` frames wait; further frames are dropped, as a
    switch does. `mtu` is the most bytes of a packet. The machine closes its port.
    """

    has_header = False

    def __init__(self, mtu: int = 1500) -> None:
        self.mtu = mtu
        self._to_guest: deque[bytes] = deque()
        self._from_guest: deque[bytes] = deque()
        self._closed = False
        self._changed = Condition()  # guards all of the above
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    # The program's side.

    def send(self, frame: bytes) -> bool:
        """Sends a frame to the guest; returns False if the frame is dropped."""
        with self._changed:
            if self._closed or len(self._to_guest) >= MOST:
                return False
            self._to_guest.append(bytes(frame))
            os.eventfd_write(self._fd, 1)
            return True

    def receive(self, timeout: float | None = None) -> bytes | None:
        """Waits for a frame of the guest, at most `timeout` seconds.

        Returns None after that time, and if the port is closed and no frame is left.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._from_guest or self._closed, timeout)
            return self._from_guest.popleft() if self._from_guest else None

    # The device's side: the protocol `NetworkEnd`.

    def fileno(self) -> int:
        """Returns a descriptor that is readable if a frame for the guest waits."""
        return self._fd

    def from_guest(self, frames: Sequence[Sequence[bytes | memoryview]]) -> int:
        """Takes frames of the guest; returns how many of them."""
        with self._changed:
            room = MOST - len(self._from_guest)
            self._from_guest += [b"".join(parts) for parts in frames[:room]]
            self._changed.notify_all()
        return min(room, len(frames))

    def to_guest(self) -> list[bytes]:
        """Returns the next frames for the guest. Raises `EOFError` if the port is closed."""
        with self._changed:
            if self._closed:
                raise EOFError
            frames = [self._to_guest.popleft() for _ in range(min(_BATCH, len(self._to_guest)))]
            if not self._to_guest:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._fd)
            return frames

    def set_offloads(self, *, checksum: bool, tso4: bool, tso6: bool, ecn: bool) -> None:
        """Does nothing: a program's frames are complete."""

    def close(self) -> None:
        """Closes the port; frames of the guest can still be received."""
        with self._changed:
            if not self._closed:
                self._closed = True
                os.eventfd_write(self._fd, 1)  # who waits for a frame sees the end
                os.close(self._fd)
                self._fd = -1
                self._changed.notify_all()
