"""A driver of the grader's: it has memory of its own, and does all that a driver may do, and more.

Source: virtio 1.2, 2.7 (split virtqueues), 3.1.1 (initialization), 4.2 (MMIO), 5.2 (block device).
"""

from __future__ import annotations

import random
import struct

from ringlet.labs.check import Failed
from ringlet.virtio import mmio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringlet.labs.lab07_virtio.remote import Remote

SECTOR = 512
READ, WRITE, GET_ID = 0, 1, 8
OK, IO_ERROR, UNSUPPORTED = 0, 1, 2
NEXT, TO_GUEST = 1, 2  # flags of a descriptor
VERSION_1 = 1 << 32
_SIZE = 1 << 20  # of the memory
_DESCRIPTOR = struct.Struct("<QIHH")
_HEADER = struct.Struct("<IIQ")

_random = random.SystemRandom()


class Ram:
    """Guest memory, somewhere above 4 GiB."""

    def __init__(self) -> None:
        self.base = _random.randrange(5 << 12, 1 << 20) << 20
        self._content = bytearray(_random.randbytes(_SIZE))
        self._free = _random.randrange(64) * 4096

    def has(self, address: int, size: int) -> bool:
        """Whether all these bytes are memory."""
        return self.base <= address and size <= _SIZE and address + size <= self.base + _SIZE

    def read(self, address: int, size: int) -> bytes:
        """Returns bytes of the memory."""
        return bytes(self._content[address - self.base :][:size])

    def write(self, address: int, data: bytes) -> None:
        """Writes bytes to the memory."""
        at = address - self.base
        self._content[at : at + len(data)] = data

    def place(self, size: int) -> int:
        """Returns an address that nobody uses yet, a multiple of 16."""
        address = self.base + self._free
        self._free += -(-size // 16) * 16 + 16 * _random.randrange(1, 8)
        return address

    def put(self, data: bytes) -> int:
        """Returns the address of a new place with this content."""
        address = self.place(len(data))
        self.write(address, data)
        return address


class Request:
    """A request in the queue: the number of its first descriptor, and where its parts are.

    buffers  the address and the size of each buffer for data
    """

    def __init__(self, head: int, status: int, buffers: Sequence[tuple[int, int]]) -> None:
        self.head, self.status, self.buffers = head, status, buffers


class Driver:
    """Drives the student's device. `size` is the number of descriptors in the queue."""

    def __init__(self, device: Remote, size: int = 8) -> None:
        self.device, self.size = device, size
        self.ram = Ram()
        device.memory = self.ram
        self.descriptors = self.ram.put(bytes(16 * size))
        self.available = self.ram.put(bytes(6 + 2 * size))
        self.used = self.ram.put(bytes(6 + 8 * size))
        # No chain has its descriptors one after another in the table.
        start, step = _random.randrange(size), _random.choice((3, 5))
        self.free = [(start + step * number) % size for number in range(size)]
        self._index = self._taken = 0

    # Registers.

    def negotiate(self, features: int = VERSION_1) -> bool:
        """Resets the device, and offers to use `features`; whether the device agrees."""
        write = self.device.write
        write(mmio.STATUS, 0)
        write(mmio.STATUS, mmio.ACKNOWLEDGE)
        write(mmio.STATUS, mmio.ACKNOWLEDGE | mmio.DRIVER)
        for half in _random.sample(range(2), 2):
            write(mmio.DRIVER_FEATURES_SEL, half)
            write(mmio.DRIVER_FEATURES, features >> 32 * half & 0xFFFF_FFFF)
        write(mmio.STATUS, mmio.ACKNOWLEDGE | mmio.DRIVER | mmio.FEATURES_OK)
        return bool(self.device.read(mmio.STATUS) & mmio.FEATURES_OK)

    def set_up(self) -> None:
        """Brings the device up to DRIVER_OK. Raises `Failed` if the device doesn't agree."""
        if not self.negotiate():
            raise Failed("the device refuses the feature VERSION_1, or has no status register")
        write = self.device.write
        write(mmio.QUEUE_SEL, 0)
        most = self.device.read(mmio.QUEUE_SIZE_MAX)
        if most < self.size:
            raise Failed(f"the queue takes {most} descriptors at most")
        write(mmio.QUEUE_SIZE, self.size)
        places = (self.descriptors, self.available, self.used)
        for register, address in zip(
            (mmio.QUEUE_DESC, mmio.QUEUE_DRIVER, mmio.QUEUE_DEVICE), places, strict=True
        ):
            write(register, address & 0xFFFF_FFFF)
            write(register + 4, address >> 32)
        write(mmio.QUEUE_READY, 1)
        accepted = mmio.ACKNOWLEDGE | mmio.DRIVER | mmio.FEATURES_OK | mmio.DRIVER_OK
        write(mmio.STATUS, accepted)

    @property
    def is_broken(self) -> bool:
        """Whether the device wants to be reset."""
        return bool(self.device.read(mmio.STATUS) & mmio.DEVICE_NEEDS_RESET)

    # The queue.

    def describe(self, number: int, address: int, size: int, flags: int, following: int) -> None:
        """Writes a descriptor."""
        entry = _DESCRIPTOR.pack(address, size, flags, following)
        self.ram.write(self.descriptors + 16 * number, entry)

    def add(
        self, kind: int, sector: int, data: bytes, *, to_guest: bool, first: int = 0
    ) -> Request:
        """Puts a request into the queue: a chain of descriptors in any order.

        If `first` isn't 0, the first `first` bytes of the data have a buffer of their own.
        """
        pieces = [piece for piece in (data[:first], data[first:]) if piece]
        status = self.ram.put(b"\xff")
        buffers = [(self.ram.put(piece), len(piece)) for piece in pieces]
        header = self.ram.put(_HEADER.pack(kind, 0, sector))
        head, *others, last = numbers = [self.free.pop() for _ in range(2 + len(buffers))]
        self.describe(head, header, _HEADER.size, NEXT, numbers[1])
        flags = NEXT | (TO_GUEST if to_guest else 0)
        for (place, size), number, following in zip(buffers, others, numbers[2:], strict=True):
            self.describe(number, place, size, flags, following)
        self.describe(last, status, 1, TO_GUEST, _random.randrange(self.size))
        self.free = numbers + self.free
        self.make_available(head)
        return Request(head, status, buffers)

    def make_available(self, head: int) -> None:
        """Puts a chain into the available ring."""
        at = self.available + 4 + 2 * (self._index % self.size)
        self.ram.write(at, head.to_bytes(2, "little"))
        self._index = (self._index + 1) & 0xFFFF
        self.ram.write(self.available + 2, self._index.to_bytes(2, "little"))

    def notify(self) -> list[tuple[int, int]]:
        """Tells the device of new chains. Returns what it has used: head and length of each."""
        self.device.write(mmio.QUEUE_NOTIFY, 0)
        found = []
        index = int.from_bytes(self.ram.read(self.used + 2, 2), "little")
        if (index - self._taken) & 0xFFFF > self.size:
            raise Failed(f"the index of the used ring is {index}, and was {self._taken}")
        while self._taken != index:
            entry = self.ram.read(self.used + 4 + 8 * (self._taken % self.size), 8)
            found.append((int.from_bytes(entry[:4], "little"), int.from_bytes(entry[4:], "little")))
            self._taken = (self._taken + 1) & 0xFFFF
        return found

    def do(self, kind: int, sector: int, data: bytes, *, to_guest: bool) -> Request:
        """Does one request. Raises `Failed` if the device doesn't give it back."""
        request = self.add(kind, sector, data, to_guest=to_guest)
        self.require_used(self.notify(), [request])
        return request

    def require_used(self, used: Sequence[tuple[int, int]], requests: Sequence[Request]) -> None:
        """Raises `Failed` unless the device has used these requests, in this order."""
        if not used:
            raise Failed("the used ring gets no request")
        if [head for head, _ in used] != [request.head for request in requests]:
            heads, expected = [head for head, _ in used], [one.head for one in requests]
            raise Failed(f"the used ring gets the chains {heads}, and they were {expected}")

    def status_of(self, request: Request) -> int:
        """Returns the status byte of a request."""
        return self.ram.read(request.status, 1)[0]

    def data_of(self, request: Request) -> bytes:
        """Returns the data of a request."""
        return b"".join(self.ram.read(place, size) for place, size in request.buffers)
