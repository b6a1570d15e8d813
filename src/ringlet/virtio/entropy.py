"""The virtio entropy device: random bytes of the host for the guest. Source: virtio 1.2, 5.4."""

from __future__ import annotations

import os
from collections import deque
from functools import partial
from threading import Condition, Thread
from time import monotonic

from ringlet.host.thread import start_without_signals
from ringlet.virtio.device import KEPT, VirtioDevice
from ringlet.virtio.queue import DriverError, scatter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ringlet.virtio.device import Kept
    from ringlet.virtio.queue import Chain

RATE = 1 << 20
MOST = 64 << 10
QUEUE_SIZE = 16


class Entropy(VirtioDevice):
    """The entropy device, which gives the guest at most `rate` bytes a second.

    Random bytes take the host's processor time, so a guest without a limit could use as much of it
    as it likes. A request gets at most `MOST` bytes; 5.4.6 lets a device fill a part of a buffer.
    A request that comes too early is kept until its time has come.
    """

    device_id = 4
    queue_sizes = (QUEUE_SIZE,)

    def __init__(self, rate: float = RATE) -> None:
        self._rate = rate
        self._given = 0  # bytes
        self._due = 0.0  # the time at which the next request may be answered
        self._kept: deque[tuple[Chain, int]] = deque()  # each with the bytes that it gets
        self._stopping = False
        self._changed = Condition()  # guards all of the above
        self._thread: Thread | None = None

    @property
    def state(self) -> dict[str, Any]:
        """How many bytes the guest was given."""
        return {"given": self._given}

    def start(self) -> None:
        """Starts the thread that answers the requests that came too early."""
        self._thread = Thread(target=self._answer_kept, name="ringlet-entropy", daemon=True)
        start_without_signals(self._thread)

    def stop(self) -> None:
        """Ends the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None and self._thread.ident is not None:
            self._thread.join()

    def handle(self, queue: int, chain: Chain) -> int | Kept:
        """Fills the buffers with random bytes, or keeps the chain until its time has come."""
        if chain.readable or not chain.writable:  # 5.4.6.1
            raise DriverError("a request for entropy has buffers to write, and no others")
        size = min(sum(map(len, chain.writable)), MOST)
        with self._changed:
            if self._kept or self._due > monotonic():
                self._kept.append((chain, size))
                self._changed.notify()
                return KEPT
            self._spend(size)
        return _fill(chain, size)

    def reset(self) -> None:
        """Forgets the chains; the limit stays as it is."""
        with self._changed:
            self._kept.clear()

    def _spend(self, size: int) -> None:
        self._given += size
        self._due = max(self._due, monotonic()) + size / self._rate

    def _answer_kept(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._kept or self._stopping)
                wait = self._due - monotonic()
                if self._changed.wait_for(lambda: self._stopping, max(wait, 0)):
                    return
                if not self._kept:  # there was a reset
                    continue
                chain, size = self._kept.popleft()
                self._spend(size)
            self.queues[0].complete(chain, partial(_fill, chain, size))


def _fill(chain: Chain, size: int) -> int:
    return scatter(os.urandom(size), chain.writable)
