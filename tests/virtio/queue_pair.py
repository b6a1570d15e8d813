"""Both ends of a virtqueue, in guest memory with holes: a device's and a driver's rings."""

from types import SimpleNamespace
from typing import Any

from ringlet.kvm.core import ffi
from ringlet.kvm.memory import GuestMemory, anonymous
from ringlet.virtio.queue import MAX_SIZE, Chain, Virtqueue

from .driver import Queue

PAGE = 4096
CHAIN_MAX = 1024
RINGS = 0x1000
TABLE = 0x8000  # of indirect descriptors
LOW, HIGH = 0x10_0000, 0x20_0000  # the second region, after a hole
TOP = (1 << 64) - PAGE  # the last page there is


def three_regions() -> GuestMemory:
    return GuestMemory([anonymous(0, 0x2_0000), anonymous(LOW, HIGH - LOW), anonymous(TOP, PAGE)])


class Pair:
    """Both ends of a queue: the device's and the rings that a driver writes."""

    def __init__(self, memory: GuestMemory, size: int = 8, *, event_index: bool = False) -> None:
        driver: Any = SimpleNamespace(memory=memory)
        self.driver = Queue(driver, 0, size, RINGS)
        self.device = Virtqueue(memory, MAX_SIZE)
        self.device.enable(
            size,
            self.driver.descriptors,
            self.driver.available,
            self.driver.used,
            event_index=event_index,
        )

    def pop(self, *buffers: tuple[int, int, int]) -> Chain:
        """What the device sees of this chain."""
        self.driver.offer(self.driver.chain(buffers))
        chain = self.device.pop()
        assert chain is not None
        return chain

    def use(self, head: int = 0, written: int = 0) -> None:
        self.device.push(Chain(head, [], []), written)


def host(view: memoryview) -> int:
    """Where it is in the host's memory."""
    with ffi.from_buffer(view) as start:
        return int(ffi.cast("uintptr_t", start))


def places(memory: GuestMemory, *buffers: tuple[int, int]) -> list[tuple[int, int]]:
    return [(host(memory.view(address, size)), size) for address, size in buffers]


def seen(views: list[memoryview]) -> list[tuple[int, int]]:
    return [(host(view), len(view)) for view in views]
