"""The virtio network device: Ethernet frames between the guest and a host end.

Source: virtio 1.2, 5.1.
"""

from __future__ import annotations

import os
import select
import struct
from collections import deque
from threading import Condition, Thread
from typing import Protocol

from ringlet.host.thread import start_without_signals
from ringlet.virtio.device import KEPT, VirtioDevice
from ringlet.virtio.queue import DriverError, scatter, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ringlet.virtio.device import Kept
    from ringlet.virtio.queue import Chain

# Features (5.1.3).
F_CSUM = 1 << 0
F_GUEST_CSUM = 1 << 1
F_MTU = 1 << 3
F_MAC = 1 << 5
F_GUEST_TSO4 = 1 << 7
F_GUEST_TSO6 = 1 << 8
F_GUEST_ECN = 1 << 9
F_HOST_TSO4 = 1 << 11
F_HOST_TSO6 = 1 << 12
F_HOST_ECN = 1 << 13
F_MRG_RXBUF = 1 << 15
F_STATUS = 1 << 16
OFFLOADS = (
    *(F_CSUM, F_GUEST_CSUM, F_GUEST_TSO4, F_GUEST_TSO6, F_GUEST_ECN),
    *(F_HOST_TSO4, F_HOST_TSO6, F_HOST_ECN),
)

RECEIVE, TRANSMIT = 0, 1  # the numbers of the queues (5.1.2)
QUEUE_SIZE = 256
LINK_UP = 1

# The header before each frame (5.1.6): flags, type of segmentation, length of the headers, size of
# a segment, where the checksum begins and is stored; then the number of buffers.
HEADER = struct.Struct("<BBHHHHH")
NEEDS_CSUM = 1
GSO_ECN = 0x80
_GSO_FEATURES = {1: F_HOST_TSO4, 4: F_HOST_TSO6}
_CONFIG = struct.Struct("<6sHHH")  # MAC, status, pairs of queues, MTU (5.1.4)

ETHERNET = 14  # bytes of the header of a frame
MOST = 65535 + ETHERNET + 4  # bytes of a frame: an IP packet, with a VLAN tag
MTUS = range(68, 65536)
_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL
_PATIENCE = 0.1  # seconds that a frame waits for more buffers, if there are too few for the frame


class NetworkEnd(Protocol):
    """The host's end of a network device: where its frames go, and where they come from.

    mtu         the most bytes of a packet, which is a frame without its Ethernet header
    has_header  whether the header of 5.1.6 stands before each frame, so that one side may leave
                checksums and segmentation to the other side
    """

    @property
    def mtu(self) -> int: ...  # noqa: D102 (the class says what it is)
    @property
    def has_header(self) -> bool: ...  # noqa: D102

    def fileno(self) -> int:
        """Returns a descriptor that is readable if `to_guest` may have a frame."""
        ...

    def from_guest(self, frames: Sequence[Sequence[bytes | memoryview]]) -> int:
        """Takes frames, each in parts, and returns how many it took; it drops the others.

        The guest may change the parts at any time, and they are gone when this method returns. This
        method doesn't wait for anything that may not come.
        """
        ...

    def to_guest(self) -> list[bytes]:
        """Returns the frames that are there; never waits. The number of frames is bounded.

        Raises `EOFError` if no frame will ever come again.
        """
        ...

    def set_offloads(self, *, checksum: bool, tso4: bool, tso6: bool, ecn: bool) -> None:
        """Says what frames for the guest may leave to the guest; only for ends with a header."""
        ...

    def close(self) -> None:
        """Closes the end; a second call does nothing."""
        ...


class Net(VirtioDevice):
    """The network device on `end`, with a MAC address of 6 bytes; closing it closes `end`.

    The chains of the receive queue are kept until frames come. A thread of the device waits for
    frames, so neither a reset nor a pause waits for one.
    """

    device_id = 1
    queue_sizes = (QUEUE_SIZE, QUEUE_SIZE)
    batches = True
    drains = True

    def __init__(self, end: NetworkEnd, mac: bytes) -> None:
        self._end = end
        self._mac = mac
        self.features = F_MAC | F_STATUS | F_MTU | F_MRG_RXBUF
        if end.has_header:
            self.features |= sum(OFFLOADS)
        self.config = _CONFIG.pack(mac, LINK_UP, 1, end.mtu)
        self._received = self._sent = 0  # frames, as the guest sees it
        self._dropped_received = self._dropped_sent = 0
        self._offloads = -1  # the features that the end was told
        self._kept: deque[tuple[Chain, int]] = deque()  # each with the size of its buffers
        self._stopping = False
        self._changed = Condition()  # guards the last two
        self._thread: Thread | None = None
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC)

    @property
    def state(self) -> dict[str, Any]:
        """How many frames were received, sent and dropped, and the offloads in use."""
        return {
            "received": self._received,
            "sent": self._sent,
            "dropped_received": self._dropped_received,
            "dropped_sent": self._dropped_sent,
            "offloads": self._offloads,
        }

    def start(self) -> None:
        """Starts the thread that waits for frames."""
        self._thread = Thread(target=self._receive, name="ringlet-net", daemon=True)
        start_without_signals(self._thread)

    def stop(self) -> None:
        """Ends the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        os.eventfd_write(self._wake_fd, 1)
        if self._thread is not None and self._thread.ident is not None:
            self._thread.join()

    def close(self) -> None:
        """Closes the host's end."""
        self._end.close()
        if self._wake_fd >= 0:
            os.close(self._wake_fd)
            self._wake_fd = -1

    def reset(self) -> None:
        """Forgets the chains."""
        with self._changed:
            self._kept.clear()

    def handle_batch(self, queue: int, chains: Sequence[Chain]) -> Sequence[int] | Kept:
        """Sends the frames of these chains, or keeps the chains for frames that will come."""
        if self._offloads != self.driver_features:
            self._set_offloads()
        if queue == TRANSMIT:
            self._transmit(chains)
            return [0] * len(chains)
        sized = []
        for chain in chains:
            if chain.readable or not chain.writable:
                raise DriverError("a place for a frame has buffers to write, and no others")
            sized.append((chain, sum(map(len, chain.writable))))
        with self._changed:
            self._kept += sized
            self._changed.notify()
        return KEPT

    def _set_offloads(self) -> None:
        features = self._offloads = self.driver_features
        if self._end.has_header:
            checksum = bool(features & F_GUEST_CSUM)  # the others need this one (5.1.3.1)
            self._end.set_offloads(
                checksum=checksum,
                tso4=checksum and bool(features & F_GUEST_TSO4),
                tso6=checksum and bool(features & F_GUEST_TSO6),
                ecn=checksum and bool(features & F_GUEST_ECN),
            )

    # From the guest.

    def _transmit(self, chains: Sequence[Chain]) -> None:
        frames: list[list[bytes | memoryview]] = []
        has_header = self._end.has_header
        for chain in chains:
            header, parts = split(chain.readable, HEADER.size)
            size = sum(map(len, parts))
            if ETHERNET <= size <= MOST and self._allows(header, size):
                frames.append([header, *parts] if has_header else [*parts])
        sent = self._end.from_guest(frames) if frames else 0
        self._sent += sent
        self._dropped_sent += len(chains) - sent

    def _allows(self, header: bytes, size: int) -> bool:
        """Returns whether the header asks only for what was agreed on, inside the frame."""
        if header[:2] == b"\0\0":
            return True
        flags, kind, _, segment, start, offset, _ = HEADER.unpack(header)
        accepted = self.driver_features
        if flags & ~NEEDS_CSUM or (flags and not accepted & F_CSUM):
            return False
        if flags and start + offset + 2 > size:
            return False
        if not kind:
            return True
        wanted = _GSO_FEATURES.get(kind & ~GSO_ECN, 0)
        if kind & GSO_ECN and not accepted & F_HOST_ECN:
            return False
        return bool(flags and segment and wanted & accepted)

    # To the guest.

    def _receive(self) -> None:
        poll, fd = select.poll(), self._end.fileno()
        poll.register(fd, select.POLLIN)
        poll.register(self._wake_fd, select.POLLIN)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._kept or self._stopping)
                if self._stopping:
                    return
            try:
                frames = self._end.to_guest()
                if not frames:
                    events = dict(poll.poll())
                    frames = self._end.to_guest()
                    if not frames and events.get(fd, 0) & _GONE:
                        raise EOFError
            except EOFError:
                self.change_config(_CONFIG.pack(self._mac, 0, 1, self._end.mtu))
                return
            except Exception as error:  # of an end that a program has made
                if self.on_error is not None:
                    self.on_error(error)
                return
            self._deliver(deque(frames))

    def _deliver(self, frames: deque[bytes]) -> None:
        """Puts the frames into kept chains, as many at once as there are chains for."""
        header = b"" if self._end.has_header else bytes(HEADER.size)
        while frames:
            placed: list[tuple[bytes, int]] = []  # each frame with the number of its chains
            chains: list[Chain] = []
            with self._changed:
                while frames:
                    needed = self._chains_for(len(header) + len(frames[0]))
                    if needed is None:
                        break
                    frame = header + frames.popleft()
                    if not needed or not self._is_acceptable(frame):
                        self._dropped_received += 1
                        continue
                    chains += [self._kept.popleft()[0] for _ in range(needed)]
                    placed.append((frame, needed))
                if not placed and frames:
                    if not self._wait_for_chains():
                        frames.popleft()
                        self._dropped_received += 1
                    if self._stopping:
                        return
                    continue
            done = self.queues[RECEIVE].complete_batch(chains, self._filler(placed, chains))
            self._received += len(placed) * done

    def _wait_for_chains(self) -> bool:
        """Waits for the driver to change the number of chains; returns False if it doesn't."""
        before = len(self._kept)
        return self._changed.wait_for(
            lambda: len(self._kept) != before or self._stopping, _PATIENCE if before else None
        )

    def _chains_for(self, size: int) -> int | None:
        """Returns how many of the next chains `size` bytes take; None if there are too few.

        0 means that the frame doesn't fit into the one chain that it may take.
        """
        if not self.driver_features & F_MRG_RXBUF:
            return None if not self._kept else int(size <= self._kept[0][1])
        for number, (_, room) in enumerate(self._kept, 1):
            size -= room
            if size <= 0:
                return number
        return None

    def _is_acceptable(self, frame: bytes) -> bool:
        """Returns whether the driver takes a frame with this header.

        The end may have made the header before it was told the offloads.
        """
        if len(frame) < HEADER.size:
            return False
        if self.driver_features & F_GUEST_CSUM:
            return not frame[1] or bool(self.driver_features & (F_GUEST_TSO4 | F_GUEST_TSO6))
        return not (frame[0] & NEEDS_CSUM or frame[1])

    def _filler(
        self, placed: list[tuple[bytes, int]], chains: list[Chain]
    ) -> Callable[[], list[int]]:
        def fill() -> list[int]:
            written = []
            first = 0
            flags = 0xFF if self.driver_features & F_GUEST_CSUM else 0
            for frame, count in placed:
                data = bytearray(frame)
                data[0] &= flags  # of a checksum
                data[10:12] = count.to_bytes(2, "little")  # the number of buffers (5.1.6.4)
                rest = memoryview(data)
                for chain in chains[first : first + count]:
                    written.append(scatter(rest, chain.writable))
                    rest = rest[written[-1] :]
                first += count
            return written

        return fill
