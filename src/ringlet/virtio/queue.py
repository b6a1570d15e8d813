"""The device's side of a split virtqueue. Source: virtio 1.2, 2.7.

C code reads and writes the rings (csrc/core/virtqueue.c). A chain's buffers are views of guest
memory: ringlet copies nothing, and the driver can change the buffers at any time.
"""

from __future__ import annotations

from threading import Lock

from ringlet.kvm.core import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ringlet.kvm.memory import GuestMemory

MAX_SIZE: int = lib.RINGLET_QUEUE_MAX
_CHAIN_MAX: int = lib.RINGLET_CHAIN_MAX


class DriverError(Exception):
    """The driver broke the specification: the device stops until the driver resets it."""


class Chain:
    """A descriptor chain: the buffers to read and the buffers to write, none of them empty.

    The driver can change a buffer at any time. So code that checks a value must copy the value
    once, and check and use the copy.
    """

    __slots__ = ("head", "readable", "writable")

    def __init__(self, head: int, readable: list[memoryview], writable: list[memoryview]) -> None:
        self.head = head
        self.readable = readable
        self.writable = writable

    def release(self) -> None:
        """Releases the views of guest memory; later use of a view raises `ValueError`."""
        for view in (*self.readable, *self.writable):
            view.release()


class Virtqueue:
    """A virtqueue of at most `max_size` entries, which is off until `enable`.

    One thread at a time may pop a chain; any thread may push a chain.
    """

    def __init__(self, memory: GuestMemory, max_size: int) -> None:
        self.max_size = max_size
        self.ready = False
        self._memory = memory
        self._views: list[memoryview] = []
        self._regions: Any = None  # the native queue points to these regions
        self._native = ffi.new("struct ringlet_virtqueue *")
        self._chain = ffi.new("struct ringlet_chain *")
        # Two numbers for each buffer: size and region in one number, then the offset.
        self._numbers = memoryview(ffi.buffer(self._chain.buffers)).cast("Q")
        self._batch: Any = None  # made for the first `pop_batch`: few devices take batches
        self._lock = Lock()
        # The chains that the device has taken from the driver and not yet given back.
        self._taken: set[Chain] = set()

    def enable(
        self, size: int, descriptors: int, available: int, used: int, *, event_index: bool
    ) -> None:
        """Turns the queue on, with the rings at these guest-physical addresses.

        Raises `DriverError` for a wrong size or address.
        """
        native = self._native
        native.regions = self._regions = self._memory.native
        native.region_count = len(self._memory.regions)
        if size > self.max_size or lib.ringlet_virtqueue_enable(
            native, size, descriptors, available, used, event_index
        ):
            raise DriverError(f"a queue of {size} at {descriptors:#x}, {available:#x}, {used:#x}")
        # The queue has its own views, so no region can be unmapped while the queue is on.
        self._views = [region.view[:] for region in self._memory.regions]
        self.ready = True

    @property
    def state(self) -> dict[str, Any]:
        """The queue's positions in its rings, and the heads of the chains that aren't given back.

        The rings themselves are in guest memory.
        """
        native = self._native
        return {
            "ready": self.ready,
            "next_available": native.next_available,
            "next_used": native.next_used,
            "published": native.published,
            "kept": sorted(chain.head for chain in list(self._taken)),
        }

    def disable(self) -> None:
        """Turns the queue off: releases the rings and the chains, and uses no guest memory.

        During this call, no thread may be in `pop` or use a chain.
        """
        self.ready = False
        self._views = []
        for chain in self._taken:
            chain.release()
        self._taken.clear()

    def pop(self) -> Chain | None:
        """Returns the next chain, or None if no chain waits.

        Raises `DriverError` for a chain that breaks the specification.
        """
        chain = self._chain
        result = lib.ringlet_virtqueue_pop(self._native, chain)
        if result == 0:
            return None
        if result < 0:
            raise DriverError(f"the chain of descriptor {chain.head} is wrong")
        views = self._views
        numbers = self._numbers[: 2 * chain.count].tolist()
        buffers = []
        for low, offset in zip(numbers[::2], numbers[1::2], strict=True):
            buffers.append(views[low >> 32][offset : offset + (low & 0xFFFF_FFFF)])
        readable = chain.readable
        taken = Chain(chain.head, buffers[:readable], buffers[readable:])
        self._taken.add(taken)
        return taken

    def pop_batch(self) -> list[Chain]:
        """Returns the chains that wait, at most 64 of them, with one call of the C core.

        Raises `DriverError` if the first chain breaks the specification. A later wrong chain is
        left in the queue.
        """
        if self._batch is None:
            self._batch = ffi.new("struct ringlet_batch *")
            self._batch_numbers = memoryview(ffi.buffer(self._batch.all)).cast("Q")
        batch = self._batch
        count = lib.ringlet_virtqueue_pop_batch(self._native, self._chain, batch)
        if count < 0:
            raise DriverError(f"the chain of descriptor {self._chain.head} is wrong")
        views = self._views
        sizes = ffi.unpack(batch.buffers, count)
        numbers = self._batch_numbers[: 2 * sum(sizes)].tolist()
        heads, readable = ffi.unpack(batch.heads, count), ffi.unpack(batch.readable, count)
        taken = []
        start = 0
        for head, size, reads in zip(heads, sizes, readable, strict=True):
            end = start + 2 * size
            buffers = [
                views[low >> 32][offset : offset + (low & 0xFFFF_FFFF)]
                for low, offset in zip(
                    numbers[start:end:2], numbers[start + 1 : end : 2], strict=True
                )
            ]
            taken.append(Chain(head, buffers[:reads], buffers[reads:]))
            start = end
        self._taken.update(taken)
        return taken

    def has(self, chains: Sequence[Chain]) -> bool:
        """Returns whether all these chains were taken, and none is given back or released."""
        return self._taken.issuperset(chains)

    def claim(self, chains: Sequence[Chain]) -> bool:
        """Returns True to the first caller if the queue `has` the chains, False to later callers.

        The first caller must give the chains back, or `keep` them.
        """
        found = self._taken.issuperset(chains)
        if found:
            self._taken.difference_update(chains)
        return found

    def keep(self, chains: Sequence[Chain]) -> None:
        """Keeps claimed chains: the device has not finished them."""
        self._taken.update(chains)

    def push(self, chain: Chain, written: int) -> None:
        """Gives `chain` back; the device wrote the first `written` bytes of its writable buffers.

        The driver sees the chain after `publish`.
        """
        with self._lock:
            lib.ringlet_virtqueue_push(self._native, chain.head, written)
            self._taken.discard(chain)

    def push_batch(self, chains: Sequence[Chain], written: Sequence[int]) -> None:
        """Gives these chains back, each as `push` does."""
        push, native = lib.ringlet_virtqueue_push, self._native
        with self._lock:
            for chain, size in zip(chains, written, strict=True):
                push(native, chain.head, size)
            self._taken.difference_update(chains)

    def publish(self) -> bool:
        """Shows the driver the pushed chains; returns whether the driver wants an interrupt."""
        with self._lock:
            return bool(lib.ringlet_virtqueue_publish(self._native))

    def arm(self) -> bool:
        """Asks the driver to notify of the next chain; returns whether a chain waits already."""
        return bool(lib.ringlet_virtqueue_arm(self._native))


def split(buffers: list[memoryview], size: int) -> tuple[bytes, list[memoryview]]:
    """Returns a copy of the first `size` bytes, and the rest of the buffers.

    A driver may divide a request into buffers as it likes. Raises `DriverError` if the request is
    shorter than `size`.
    """
    head = b""
    for index, buffer in enumerate(buffers):
        missing = size - len(head)
        head += bytes(buffer[:missing])
        if len(buffer) > missing:
            return head, [buffer[missing:], *buffers[index + 1 :]]
        if len(buffer) == missing:
            return head, buffers[index + 1 :]
    raise DriverError("a request is shorter than its header")


def skip(buffers: list[memoryview], start: int) -> list[memoryview]:
    """Returns the buffers without their first `start` bytes."""
    for index, buffer in enumerate(buffers):
        if start < len(buffer):
            return [buffer[start:], *buffers[index + 1 :]]
        start -= len(buffer)
    return []


def scatter(data: bytes | memoryview, buffers: list[memoryview]) -> int:
    """Writes `data` to the buffers, as far as they have room; returns how many bytes that was."""
    rest = memoryview(data)
    for buffer in buffers:
        if not rest:
            break
        part = rest[: len(buffer)]
        buffer[: len(part)] = part
        rest = rest[len(part) :]
    return len(data) - len(rest)
