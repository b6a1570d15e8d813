"""A split virtqueue, the device's side. Source: virtio 1.2, 2.7.

The rings are read and written in C (csrc/core/virtqueue.c). A chain's buffers are views of guest
memory: nothing is copied, and the driver can change them at any time.
"""

from __future__ import annotations

from threading import Lock

from ringlet.kvm.core import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ringlet.kvm.memory import GuestMemory

MAX_SIZE: int = lib.RINGLET_QUEUE_MAX
_CHAIN_MAX: int = lib.RINGLET_CHAIN_MAX


class DriverError(Exception):
    """The driver broke the specification: the device goes no further until it is reset."""


class Chain:
    """What the driver hands over at once: views to read and views to write, none of them empty.

    Python code must read what it judges once, into an object of its own.
    """

    __slots__ = ("head", "readable", "writable")

    def __init__(self, head: int, readable: list[memoryview], writable: list[memoryview]) -> None:
        self.head = head
        self.readable = readable
        self.writable = writable

    def release(self) -> None:
        """Who keeps the chain has no guest memory by it any more: its views raise."""
        for view in (*self.readable, *self.writable):
            view.release()


class Virtqueue:
    """A virtqueue of at most `max_size` entries, off until `enable`.

    One thread at a time may pop; any may complete.
    """

    def __init__(self, memory: GuestMemory, max_size: int) -> None:
        self.max_size = max_size
        self.ready = False
        self._memory = memory
        self._views: list[memoryview] = []
        self._regions: Any = None  # which the native queue points to
        self._native = ffi.new("struct ringlet_virtqueue *")
        self._chain = ffi.new("struct ringlet_chain *")
        # The buffers as numbers: size and region in one, then the offset.
        self._numbers = memoryview(ffi.buffer(self._chain.buffers)).cast("Q")
        self._lock = Lock()
        # The chains that the device has: taken from the driver, and not yet given back.
        self._taken: set[Chain] = set()

    def enable(
        self, size: int, descriptors: int, available: int, used: int, *, event_index: bool
    ) -> None:
        """Begins, with the rings at these guest-physical addresses.

        Raises `DriverError` where they are wrong.
        """
        native = self._native
        native.regions = self._regions = self._memory.native
        native.region_count = len(self._memory.regions)
        if size > self.max_size or lib.ringlet_virtqueue_enable(
            native, size, descriptors, available, used, event_index
        ):
            raise DriverError(f"a queue of {size} at {descriptors:#x}, {available:#x}, {used:#x}")
        # Views of its own: none of the regions can be unmapped now.
        self._views = [region.view[:] for region in self._memory.regions]
        self.ready = True

    @property
    def state(self) -> dict[str, Any]:
        """Where it is in its rings, which are themselves in guest memory, and what is kept."""
        native = self._native
        return {
            "ready": self.ready,
            "next_available": native.next_available,
            "next_used": native.next_used,
            "published": native.published,
            "kept": sorted(chain.head for chain in list(self._taken)),
        }

    def disable(self) -> None:
        """Forgets the rings and the chains: guest memory isn't touched any more.

        Nobody may be in `pop`, nor use a chain.
        """
        self.ready = False
        self._views = []
        for chain in self._taken:
            chain.release()
        self._taken.clear()

    def pop(self) -> Chain | None:
        """The next chain, None if none waits. Raises `DriverError` for one that can't be."""
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

    def has(self, chain: Chain) -> bool:
        """Whether `chain` was taken, and neither given back nor forgotten."""
        return chain in self._taken

    def claim(self, chain: Chain) -> bool:
        """Whether the queue `has` it; the first who asks alone gives it back."""
        found = chain in self._taken
        self._taken.discard(chain)
        return found

    def push(self, chain: Chain, written: int) -> None:
        """Gives `chain` back, of which the first `written` bytes of what can be written were.

        The driver learns of it by `publish`.
        """
        with self._lock:
            lib.ringlet_virtqueue_push(self._native, chain.head, written)
            self._taken.discard(chain)

    def publish(self) -> bool:
        """Shows the driver what was pushed. Whether it wants an interrupt."""
        with self._lock:
            return bool(lib.ringlet_virtqueue_publish(self._native))

    def arm(self) -> bool:
        """Asks for a notification of the next chain. Whether one waits already."""
        return bool(lib.ringlet_virtqueue_arm(self._native))
