"""A port of a virtio console: the host's ends and the driver's buffers. Source: virtio 1.2, 5.3."""

from __future__ import annotations

import time
from collections import deque
from contextlib import nullcontext
from threading import Lock

from ringlet.host.output import OutputClosedError
from ringlet.virtio.device import KEPT
from ringlet.virtio.queue import DriverError, scatter, skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Any

    from ringlet.host.output import PolledOutput
    from ringlet.virtio.device import DeviceQueue, Kept
    from ringlet.virtio.queue import Chain

    Source = Callable[["Port"], AbstractContextManager[object]]

_PIECE = 64 << 10  # at most so many bytes are copied for a function that takes the output


class Port:
    """A port: its `name` in the guest, and the host's two ends.

    sink       takes the bytes that the guest writes: an output, or a function
    source     begins to read the host's input for the port; the end of its context ends the reading
    console    whether the port is a terminal of the guest, such as Linux's /dev/hvc0
    on_closed  is called when the reader of `sink` has gone
    on_sent    is called after bytes went to `sink`
    sent       how many bytes went to `sink`
    first      when the first of them went there: CLOCK_MONOTONIC in nanoseconds; None before that

    A port is the `Receiver` of host/input.py, too: it takes input while the guest has buffers.
    """

    def __init__(
        self,
        name: str,
        sink: PolledOutput | Callable[[bytes], object],
        source: Source = lambda port: nullcontext(),
        *,
        console: bool = False,
        on_closed: Callable[[], object] = lambda: None,
        on_sent: Callable[[], object] = lambda: None,
    ) -> None:
        self.name = name
        self.sink = sink
        self.source = source
        self.console = console
        self.on_closed = on_closed
        self.on_sent = on_sent
        self.sent = 0
        self.first: int | None = None
        self.on_room: Callable[[], None] = lambda: None
        self._wake: Callable[[], None] = lambda: None
        self._lock = Lock()  # one thread at a time gives input to the guest
        self._said: deque[bytes] = deque()
        self._queues: tuple[DeviceQueue, ...] = ()
        self.reset()

    def reset(self) -> None:
        """Forgets the driver and the driver's buffers."""
        self.opened = False  # by the guest
        self._buffers: deque[tuple[Chain, int]] = deque()  # for input, each with its size
        self._unsent: deque[tuple[Chain, int]] = deque()  # each with how much of it is written

    def connect(
        self, input_queue: DeviceQueue, output_queue: DeviceQueue, wake: Callable[[], None]
    ) -> None:
        """Gives the port its queues; after `wake`, the device's thread calls `step`."""
        self._queues = input_queue, output_queue
        self._wake = wake

    @property
    def state(self) -> dict[str, Any]:
        """All that changes, as plain values; the transport lists the kept chains."""
        unsent = [(chain.head, done) for chain, done in list(self._unsent)]
        return {"name": self.name, "opened": self.opened, "sent": self.sent, "unsent": unsent}

    # The device's thread.

    def watch(self) -> int | None:
        """Returns the descriptor that has to be writable before `step` can go on; else None."""
        return None if callable(self.sink) or not self._unsent else self.sink.fd

    def step(self) -> None:
        """Goes on with the output and with what `say` has left."""
        unsent = self._unsent
        while unsent:
            chain, done = unsent[0]
            after = [done]
            known = self._queues[1].complete(chain, lambda c=chain, a=after: self._send(c, a))  # type: ignore[misc]
            if known and after[0] >= 0:
                unsent[0] = chain, after[0]
                break
            unsent.popleft()
        while self._said and (taken := self.receive(self._said[0])):
            rest = self._said.popleft()[taken:]
            if rest:
                self._said.appendleft(rest)

    # From the host to the guest.

    def add_buffer(self, chain: Chain) -> Kept:
        """Takes a buffer of the driver, for input."""
        size = sum(map(len, chain.writable))
        if not size:
            raise DriverError("a buffer for input that can't be written")
        self._buffers.append((chain, size))
        if self.opened:
            self._tell_of_room()
        return KEPT

    def set_open(self, opened: bool) -> None:
        """Notes whether a program in the guest has the port open."""
        self.opened = opened
        if opened:
            self._tell_of_room()

    def _tell_of_room(self) -> None:
        self.on_room()
        if self._said:
            self._wake()

    @property
    def room(self) -> int:
        """How many bytes the guest takes now. Linux drops the input of a port that isn't open."""
        return sum(size for _, size in list(self._buffers)) if self.opened else 0

    def receive(self, data: bytes) -> int:
        """Gives the guest as many bytes of `data` as it has room for; returns how many."""
        taken = 0
        with self._lock:
            while self.opened and taken < len(data):
                try:
                    chain, size = self._buffers.popleft()
                except IndexError:
                    break
                piece = data[taken : taken + size]
                if self._queues[0].complete(chain, lambda c=chain, p=piece: scatter(p, c.writable)):  # type: ignore[misc]
                    taken += len(piece)
        return taken

    def receive_break(self) -> None:
        """Does nothing: a port has no break."""

    def say(self, data: bytes) -> None:
        """Gives `data` to the guest as soon as it takes input; any signal handler may call this."""
        self._said.append(data)
        self._wake()

    # From the guest to the host.

    def send(self, chain: Chain) -> int | Kept:
        """Writes a chain to the host, or keeps it until the host's reader takes it."""
        if not self._unsent:
            after = [0]
            if self._send(chain, after) == 0:
                return 0
            self._unsent.append((chain, after[0]))
        else:
            self._unsent.append((chain, 0))
        self._wake()
        return KEPT

    def _send(self, chain: Chain, after: list[int]) -> int | Kept:
        """Writes the bytes of `chain` from `after[0]` on, as far as nothing has to wait.

        Returns 0 and sets `after[0]` to -1 at the end of the chain; or returns `KEPT`, and
        `after[0]` is the next byte.
        """
        buffers = skip(chain.readable, after[0])
        try:
            while buffers:
                if self.first is None:  # before a reader of the host can have the bytes
                    self.first = time.monotonic_ns()
                written = self._write(buffers)
                if not written:
                    return KEPT
                self.sent += written
                after[0] += written
                buffers = skip(buffers, written)
        except OutputClosedError:
            self.on_closed()
        after[0] = -1
        self.on_sent()
        return 0

    def _write(self, buffers: list[memoryview]) -> int:
        if not callable(self.sink):
            return self.sink.write(buffers)
        data = bytes(buffers[0][:_PIECE])
        self.sink(data)
        return len(data)
