"""A hostile driver: it does anything with the registers and the memory of a device, at any time.

Mostly it does what has a meaning, or nearly so, or it would never get past the first check.
"""

import struct
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from ringlet.virtio import mmio
from ringlet.virtio.device import TRANSPORT_FEATURES
from ringlet.virtio.mmio import VirtioMmio
from ringlet.virtio.net import HEADER, RECEIVE, Net

from .driver import INDIRECT, NEXT, WRITE

T = TypeVar("T")

PAGE, SECTOR = 4096, 512

# Guest memory, with a hole between.
RAM_SIZE = 128 << 10
HIGH, HIGH_SIZE = 1 << 32, 16 << 10
RINGS_END, TABLES, TABLES_END, HEADERS, HEADERS_END = 0x6000, 0x6000, 0x8000, 0x8000, 0x9000
DISK_SIZE = 8 << 30

REGISTERS = [
    *(0x00, 0x04, 0x08, 0x0C, 0x10, 0x14, 0x20, 0x24, 0x30, 0x34, 0x38, 0x44, 0x50, 0x60, 0x64),
    *(0x70, 0x80, 0x84, 0x90, 0x94, 0xA0, 0xA4, 0xAC, 0xB0, 0xB4, 0xB8, 0xBC, 0xC0, 0xFC, 0x100),
]
VALUES = [0, 1, 2, 3, 4, 7, 8, 11, 15, 16, 64, 128, 255, 256, 257, 1024, 0x1000, 0x8000, 0xFFFF]
VALUES += [0x1_0000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFF0, 0xFFFF_FFFF, (1 << 64) - 1]
EDGES = [0, RAM_SIZE, HIGH, HIGH + HIGH_SIZE, 1 << 31, 1 << 32, 1 << 63]
STEPS = [-PAGE, -513, -512, -17, -16, -1, 0, 1, 8, 16, 512, PAGE]
LENGTHS = [0, 1, 4, 15, 16, 16, 17, 20, 32, 48, 511, 512, 512, 513, 1024, 4096, 4097]
LENGTHS += [RAM_SIZE, 0x1_0000, 1 << 31, 0xFFFF_FFF0, 0xFFFF_FFFF]
FLAGS = [0, NEXT, WRITE, NEXT | WRITE, INDIRECT, INDIRECT | NEXT, INDIRECT | WRITE, 7, 8, 0xFFFF]
SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256]
KINDS = [0, 0, 0, 1, 1, 1, 4, 8, 10, 11, 13, 14, 16, 0xFFFF_FFFF]
CAPACITY = DISK_SIZE // SECTOR
SECTORS = [0, 1, 2, 7, 8, 9, 64, 100, 999, 4096, CAPACITY - 1, CAPACITY, CAPACITY + 1]
SECTORS += [(1 << 55) - 1, 1 << 55, 1 << 63, (1 << 64) - 1]


class Attack:
    """Drives `transport`, with `random` as its mind; `ram` is the first of guest memory."""

    def __init__(self, random: Random, transport: VirtioMmio, ram: memoryview) -> None:
        self.operations = 0
        self.random = random.random
        self.bits = random.getrandbits
        self.bytes = random.randbytes
        self.transport = transport
        self.ram = ram
        self.size = 16
        self.descriptors, self.available, self.used = 0x1000, 0x2000, 0x3000
        self.index = 0  # of the available ring
        self.queue = 0
        self.steps: list[Callable[[], None]] = []
        for weight, step in (
            (4, self.any_register),
            (4, self.any_read),
            (1, self.wrong_rings),
            (1, self.move),
            (1, self.ready),
            (1, self.reset),
            (12, self.chain),
            (20, self.request),
            (8, self.indirect),
            (4, self.change_descriptor),
            (4, self.change_header),
            (3, self.noise),
            (1, self.jump),
            (2, self.suppress),
            (3, self.offer_any),
            (4, self.notify),
        ):
            self.steps += [step] * weight
        if isinstance(transport.device, Net):
            self.steps = [self.frame if step == self.request else step for step in self.steps]

    def run(self, steps: int) -> None:
        self.poke(0, bytes(HEADERS))
        for place in range(HEADERS, HEADERS_END, 64):
            self.header(place)
        if self.random() < 0.9:
            self.begin()
        for _ in range(steps):
            self.choose(self.steps)()

    # The least that a driver does.

    def choose(self, of: Sequence[T]) -> T:
        return of[int(self.random() * len(of))]

    def poke(self, address: int, data: bytes) -> None:
        self.operations += 1
        end = min(address + len(data), RAM_SIZE)
        self.ram[address:end] = data[: end - address]

    def write(self, register: int, value: int, size: int = 4) -> None:
        self.operations += 1
        self.transport.write(register, size, value & (1 << 8 * size) - 1)

    def read(self, register: int, size: int = 4) -> int:
        self.operations += 1
        value = self.transport.read(register, size)
        assert 0 <= value < 1 << 8 * size
        return value

    def value(self) -> int:
        return self.choose(VALUES) if self.random() < 0.7 else self.bits(64)

    def address(self, good: float = 0.7) -> int:
        if self.random() < good:
            return int(self.random() * RAM_SIZE)
        return (self.choose(EDGES) + self.choose(STEPS)) % (1 << 64)

    # Registers.

    def any_register(self) -> None:
        register = self.choose(REGISTERS) if self.random() < 0.9 else self.bits(12)
        self.write(register, self.value(), self.choose((4, 4, 4, 4, 1, 2, 8)))

    def any_read(self) -> None:
        register = self.choose(REGISTERS) if self.random() < 0.8 else self.bits(12)
        self.read(register, self.choose((4, 4, 4, 1, 2, 8)))

    def wrong_rings(self) -> None:
        self.write(mmio.QUEUE_SEL, self.choose((0, 0, 0, 1, 2, 3, 0xFFFF_FFFF)))
        if self.random() < 0.5:
            self.write(mmio.QUEUE_READY, 0)
        self.write(mmio.QUEUE_SIZE, self.value())
        for register in (mmio.QUEUE_DESC, mmio.QUEUE_DRIVER, mmio.QUEUE_DEVICE):
            address = self.address() & -self.choose((1, 2, 4, 16))
            self.write(register, address)
            self.write(register + 4, address >> 32)
        self.write(mmio.QUEUE_READY, self.choose((1, 1, 1, 2, 0xFFFF_FFFF)))

    def rings(self) -> None:
        """A queue as it should be, somewhere."""
        queue = self.queue = int(self.random() * len(self.transport.device.queue_sizes))
        most = self.transport.device.queue_sizes[queue]
        self.size = size = min(self.choose(SIZES), most)
        self.descriptors = self.bits(8) * 16
        self.available = 0x2000 + self.bits(10) * 2
        self.used = 0x3000 + self.bits(9) * 4
        self.write(mmio.QUEUE_SEL, queue)
        self.write(mmio.QUEUE_READY, 0)
        self.write(mmio.QUEUE_SIZE, size)
        for register, address in (
            (mmio.QUEUE_DESC, self.descriptors),
            (mmio.QUEUE_DRIVER, self.available),
            (mmio.QUEUE_DEVICE, self.used),
        ):
            self.write(register, address)
            self.write(register + 4, 0)
        self.poke(self.available, bytes(6 + 2 * size))
        self.index = 0
        self.write(mmio.QUEUE_READY, 1)

    def move(self) -> None:
        """The queue, while it is in use."""
        self.rings()

    def ready(self) -> None:
        self.write(mmio.QUEUE_SEL, self.choose((0, 0, 1, 2)))
        self.write(mmio.QUEUE_READY, self.choose((0, 1)))

    def reset(self) -> None:
        self.write(mmio.STATUS, 0)

    def begin(self) -> None:
        """All the way to DRIVER_OK."""
        self.write(mmio.STATUS, 0)
        features = TRANSPORT_FEATURES | (self.transport.device.features & self.bits(32))
        if self.random() < 0.3:
            features &= ~(1 << 29)
        for word in (0, 1):
            self.write(mmio.DRIVER_FEATURES_SEL, word)
            self.write(mmio.DRIVER_FEATURES, features >> 32 * word & 0xFFFF_FFFF)
        self.write(mmio.STATUS, 11)
        self.rings()
        self.write(mmio.STATUS, 15)

    # Memory.

    def descriptor(self) -> bytes:
        length = self.choose(LENGTHS) if self.random() < 0.9 else self.bits(32)
        next = int(self.random() * (self.size + 1)) if self.random() < 0.9 else self.bits(16)
        flags = self.choose(FLAGS)
        address = self.address()
        if flags & INDIRECT and self.random() < 0.8:
            address = TABLES + self.bits(12)
        return struct.pack("<QIHH", address, length, flags, next)

    def change_descriptor(self) -> None:
        at = self.descriptors + 16 * int(self.random() * self.size)
        self.poke(at, self.descriptor())

    def chain(self) -> None:
        """Descriptors that hang together, or nearly so."""
        count = self.choose((1, 2, 3, 4, 8, self.size, self.size))
        head = int(self.random() * self.size)
        parts = []
        writable = int(self.random() * (count + 1))
        for step in range(count):
            index = head + step + 1
            flags = NEXT * (step < count - 1) | WRITE * (step >= writable)
            if self.random() < 0.02:
                flags = self.choose(FLAGS)
            length = self.choose(LENGTHS[:17])
            address = self.address(0.99)
            parts.append(struct.pack("<QIHH", address, length, flags, index % self.size))
        self.poke(self.descriptors + 16 * head, b"".join(parts[: self.size - head]))
        if head + count > self.size:
            self.poke(self.descriptors, b"".join(parts[self.size - head :]))
        self.offer(head)

    def request(self) -> None:
        """A request to the disk, mostly in good order."""
        count = int(self.random() * 4)
        head = int(self.random() * self.size)
        write = self.choose((0, WRITE))
        header = HEADERS + self.bits(6) * 64
        buffers = [(header, 16, 0)]
        buffers += [
            (0x9000 + self.bits(6) * 512, self.choose((512, 1024, 4096)), write)
            for _ in range(count)
        ]
        if self.random() < 0.3:  # segments, if it is about those
            buffers[1:] = [(header + 16, self.choose((16, 32, 48)), 0)]
            count = 1
        buffers.append((0x1_F000 + self.bits(8), 1, WRITE))
        parts = [
            struct.pack(
                "<QIHH", address, size, flags | NEXT * (i < count + 1), (head + i + 1) % self.size
            )
            for i, (address, size, flags) in enumerate(buffers)
        ]
        if self.random() < 0.1:
            parts[int(self.random() * len(parts))] = self.descriptor()
        if self.random() < 0.3 or count + 2 > self.size:
            table = TABLES + self.bits(8) * 16
            self.poke(table, self.straight(buffers))
            parts = [struct.pack("<QIHH", table, 16 * len(buffers), INDIRECT, 0)]
        for index, part in enumerate(parts):
            self.poke(self.descriptors + 16 * ((head + index) % self.size), part)
        self.offer(head)

    def frame(self) -> None:
        """A frame that is sent, or a place for one, mostly in good order."""
        count = self.choose((1, 1, 2, 3))
        write = WRITE * (self.queue == RECEIVE)
        header = HEADERS + self.bits(6) * 64
        buffers = [(header, self.choose((12, 12, 12, 0, 1, 11, 13, 26, 64)), 0)] * (not write)
        buffers += [
            (0x9000 + self.bits(6) * 512, self.choose((*LENGTHS[1:17], 60, 1514)), write)
            for _ in range(count)
        ]
        head = int(self.random() * self.size)
        table = TABLES + self.bits(8) * 16
        data = self.straight(buffers)
        if self.random() < 0.05:
            at = 16 * int(self.random() * len(buffers))
            data = data[:at] + self.descriptor() + data[at + 16 :]
        self.poke(table, data)
        whole = struct.pack("<QIHH", table, len(data), INDIRECT, 0)
        self.poke(self.descriptors + 16 * head, whole)
        self.offer(head)

    def straight(self, buffers: list[tuple[int, int, int]]) -> bytes:
        last = len(buffers) - 1
        return b"".join(
            struct.pack("<QIHH", address, size, flags | NEXT * (index < last), index + 1)
            for index, (address, size, flags) in enumerate(buffers)
        )

    def indirect(self) -> None:
        """A table of anything, also too long a one, and one in another."""
        head = int(self.random() * self.size)
        table = TABLES + self.bits(12)
        if self.random() < 0.1:  # as long as memory has room for: it goes on in what is there
            self.poke(TABLES, self.straight([(0x9000, 1, 0)] * ((TABLES_END - TABLES) // 16)))
            table = TABLES
        else:
            self.poke(table, b"".join(self.descriptor() for _ in range(self.choose((1, 2, 4)))))
        size = self.choose((16, 32, 64, 0x2000, 15, 17, 0, 0xFFFF_FFF0, 0xFFFF_FFFF))
        flags = self.choose((INDIRECT, INDIRECT, INDIRECT, INDIRECT | WRITE, INDIRECT | NEXT))
        self.poke(self.descriptors + 16 * head, struct.pack("<QIHH", table, size, flags, head))
        self.offer(head)

    def header(self, at: int) -> None:
        kind = self.choose(KINDS)
        data = struct.pack("<IIQ", kind, 0, self.choose(SECTORS))
        if kind in (11, 13):
            segment = (self.choose(SECTORS), self.choose((0, 1, 8, 4096, 1 << 22)), self.bits(1))
            data += struct.pack("<QII", *segment) * self.choose((1, 3))
        if kind == 14:
            data = b"evil"
        if isinstance(self.transport.device, Net):
            flags, segments = self.choose((0, 0, 1, 1, 2, 255)), self.choose((0, 0, 1, 3, 4, 0x81))
            fields = [self.choose((0, 1, 14, 34, 54, 1000, 0xFFFE, 0xFFFF)) for _ in range(5)]
            data = HEADER.pack(flags, segments, *fields)
        self.poke(at, data)

    def change_header(self) -> None:
        self.header(HEADERS + self.bits(6) * 64)

    def noise(self) -> None:
        self.poke(int(self.random() * RINGS_END), self.bytes(self.choose((1, 2, 4, 16, 64))))

    def offer(self, head: int) -> None:
        """Makes it available, often with a notification and time to work on it."""
        slot = self.index % self.size
        self.poke(self.available + 4 + 2 * slot, struct.pack("<H", head))
        self.index = (self.index + 1) & 0xFFFF
        self.poke(self.available + 2, struct.pack("<H", self.index))
        if self.random() < 0.6:
            self.notify()

    def offer_any(self) -> None:
        self.offer(int(self.random() * self.size) if self.random() < 0.95 else self.bits(16))

    def jump(self) -> None:
        self.index = self.bits(16) if self.random() < 0.5 else self.index + self.size & 0xFFFF
        self.poke(self.available + 2, struct.pack("<H", self.index))

    def suppress(self) -> None:
        self.poke(self.available, struct.pack("<H", self.choose((0, 1, 2, 0xFFFF))))
        self.poke(self.available + 4 + 2 * self.size, struct.pack("<H", self.bits(16)))

    def notify(self) -> None:
        self.write(mmio.QUEUE_NOTIFY, self.choose((0, 0, 0, 1, 2, 3, 0xFFFF_FFFF)))
        if self.random() < 0.7:
            time.sleep(0.00005)  # the device's turn
        status = self.read(mmio.STATUS)
        if (status & mmio.DEVICE_NEEDS_RESET or not status) and self.random() < 0.8:
            self.begin()
