"""A device on its transport, with its driver, and no VM; and a device to ask for what may happen.

Whatever a device raises that it should not fails the test.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock

from ringlet.kvm.memory import GuestMemory, anonymous
from ringlet.virtio.device import TRANSPORT_FEATURES, VirtioDevice
from ringlet.virtio.mmio import VirtioMmio
from ringlet.virtio.queue import Chain, DriverError

from ..until import until as until
from .driver import SECONDS, WRITE, Driver, Queue

MEMORY = 1 << 20


class Rig:
    """`queues` are those of the driver, once `start` was called."""

    def __init__(self, device: VirtioDevice, memory: GuestMemory) -> None:
        self.errors: list[BaseException] = []
        self.memory = memory
        self.transport = VirtioMmio(device, memory, self.errors.append)
        self.driver = Driver(self.transport, memory)
        self.read, self.write = self.driver.read, self.driver.write
        self.queues: list[Queue] = []

    def start(self, features: int = TRANSPORT_FEATURES, size: int = 16) -> "list[Queue]":
        self.queues = self.driver.start(features, size)
        return self.queues


@contextmanager
def rig(device: VirtioDevice, *, serving: bool = True) -> Iterator[Rig]:
    with GuestMemory([anonymous(0, MEMORY)]) as memory:
        made = Rig(device, memory)
        with made.transport:
            if serving:
                made.transport.start()
            yield made
    assert made.errors == []


class Scripted(VirtioDevice):
    """Does what the first byte that it reads says, and answers with the second one.

    q  at once              s  as a function that waits until `let` was called with that byte
    d  breaks the rules     D  the same, later
    x  raises               X  the same, later
    """

    device_id = 42
    queue_sizes = (64, 64)

    def __init__(self) -> None:
        self.begun: list[int] = []  # slow requests, in this order
        self.done: list[int] = []
        self.resets = 0
        self.active = 0
        self._lock = Lock()
        self._gates = {byte: Event() for byte in range(256)}

    def let(self, *bytes: int) -> None:
        for byte in bytes:
            self._gates[byte].set()

    def handle(self, queue: int, chain: Chain) -> int | Callable[[], int]:
        command, byte = bytes(chain.readable[0][:2])
        if command == ord("q"):
            chain.writable[0][0] = byte
            return 1
        if command == ord("d"):
            raise DriverError("as it was told to")
        if command == ord("x"):
            raise ZeroDivisionError("as it was told to")
        with self._lock:
            self.active += 1
        return lambda: self._later(command, byte, chain)

    def _later(self, command: int, byte: int, chain: Chain) -> int:
        try:
            if command == ord("D"):
                raise DriverError("as it was told to")
            if command == ord("X"):
                raise ZeroDivisionError("as it was told to")
            self.begun.append(byte)
            assert self._gates[byte].wait(SECONDS)
            chain.writable[0][0] = byte
            self.done.append(byte)
            return 1
        finally:
            with self._lock:
                self.active -= 1

    def reset(self) -> None:
        assert not self.active
        self.resets += 1


def ask(queue: Queue, command: str, byte: int = 0, slot: int = 0, *, notify: bool = True) -> None:
    """Offers a request to a `Scripted` device. Each of those under way has its own slot."""
    address = 0x8000 + 0x100 * queue.number + 4 * slot
    queue.memory.write(address, bytes((ord(command), byte, 0, 0)))
    queue.offer(queue.chain([(address, 2, 0), (address + 2, 1, WRITE)], 2 * slot))
    if notify:
        queue.notify()


def answer(queue: Queue, slot: int = 0) -> int:
    """What the device wrote there."""
    return queue.memory.read(0x8000 + 0x100 * queue.number + 4 * slot + 2, 1)[0]
