"""The driver's side of a virtio device, in Python: registers, rings, and waiting for the device.

It works on the transport and guest memory alone, with no VM. Source: virtio 1.2, 2.7 and 3.1.
"""

import os
import select
import struct
from collections.abc import Sequence

from ringlet.kvm.memory import GuestMemory
from ringlet.virtio import mmio
from ringlet.virtio.device import TRANSPORT_FEATURES

NEXT, WRITE, INDIRECT = 1, 2, 4
SECONDS = 30  # more than anything takes


class Driver:
    """Drives `transport`, with its rings and buffers in `memory` from address `base` on."""

    def __init__(self, transport: mmio.VirtioMmio, memory: GuestMemory, base: int = 0x1000) -> None:
        self.transport = transport
        self.memory = memory
        self.base = base

    def read(self, register: int) -> int:
        return self.transport.read(register, 4)

    def write(self, register: int, value: int) -> None:
        self.transport.write(register, 4, value)

    @property
    def features(self) -> int:
        """What the device offers."""
        value = 0
        for word in (0, 1):
            self.write(mmio.DEVICE_FEATURES_SEL, word)
            value |= self.read(mmio.DEVICE_FEATURES) << 32 * word
        return value

    def negotiate(self, features: int) -> bool:
        """From a reset to FEATURES_OK. Whether the device agrees."""
        self.write(mmio.STATUS, 0)
        self.write(mmio.STATUS, mmio.ACKNOWLEDGE)
        self.write(mmio.STATUS, mmio.ACKNOWLEDGE | mmio.DRIVER)
        for word in (0, 1):
            self.write(mmio.DRIVER_FEATURES_SEL, word)
            self.write(mmio.DRIVER_FEATURES, features >> 32 * word & 0xFFFF_FFFF)
        self.write(mmio.STATUS, mmio.ACKNOWLEDGE | mmio.DRIVER | mmio.FEATURES_OK)
        return bool(self.read(mmio.STATUS) & mmio.FEATURES_OK)

    def start(self, features: int = TRANSPORT_FEATURES, size: int = 16) -> "list[Queue]":
        """The whole initialization (3.1.1): all queues with `size` entries, then DRIVER_OK."""
        assert self.negotiate(features)
        queues = []
        number = 0
        while True:
            self.write(mmio.QUEUE_SEL, number)
            if self.read(mmio.QUEUE_SIZE_MAX) == 0:
                break
            queue = Queue(self, number, size, self.base + 0x2000 * number)
            queue.enable()
            queues.append(queue)
            number += 1
        self.write(mmio.STATUS, self.read(mmio.STATUS) | mmio.DRIVER_OK)
        return queues


class Queue:
    """One virtqueue: three pages of rings are enough for 128 entries and less."""

    def __init__(self, driver: Driver, number: int, size: int, base: int) -> None:
        self.driver = driver
        self.memory = driver.memory
        self.number = number
        self.size = size
        self.descriptors = base
        self.available = base + 16 * size
        self.used = (self.available + 6 + 2 * size + 3) & ~3
        self.next_available = 0
        self.next_used = 0

    def enable(self) -> None:
        write = self.driver.write
        self.memory.write(self.descriptors, bytes(self.used + 6 + 8 * self.size - self.descriptors))
        self.next_available = self.next_used = 0
        write(mmio.QUEUE_SEL, self.number)
        write(mmio.QUEUE_SIZE, self.size)
        for register, address in (
            (mmio.QUEUE_DESC, self.descriptors),
            (mmio.QUEUE_DRIVER, self.available),
            (mmio.QUEUE_DEVICE, self.used),
        ):
            write(register, address & 0xFFFF_FFFF)
            write(register + 4, address >> 32)
        write(mmio.QUEUE_READY, 1)

    def describe(self, index: int, address: int, size: int, flags: int = 0, next: int = 0) -> None:
        """Writes one descriptor."""
        self.memory.write(self.descriptors + 16 * index, descriptor(address, size, flags, next))

    def chain(self, buffers: Sequence[tuple[int, int, int]], first: int = 0) -> int:
        """Writes a chain of (address, size, flags) from descriptor `first` on; its head."""
        for index, (address, size, flags) in enumerate(buffers):
            last = index == len(buffers) - 1
            self.describe(
                first + index, address, size, flags | NEXT * (not last), (first + index + 1) % 65536
            )
        return first

    def offer(self, head: int) -> None:
        """Makes the chain available, with no notification."""
        slot = self.next_available % self.size
        self.memory.write(self.available + 4 + 2 * slot, struct.pack("<H", head))
        self.next_available = (self.next_available + 1) & 0xFFFF
        self.memory.write(self.available + 2, struct.pack("<H", self.next_available))

    def notify(self) -> None:
        self.driver.write(mmio.QUEUE_NOTIFY, self.number)

    @property
    def used_index(self) -> int:
        (index,) = struct.unpack("<H", self.memory.read(self.used + 2, 2))
        return int(index)

    def used_event(self, index: int) -> None:
        """The device is to interrupt when it has used the entry of this index."""
        self.memory.write(self.available + 4 + 2 * self.size, struct.pack("<H", index))

    def take(self) -> tuple[int, int]:
        """The next entry of the used ring: head, bytes written. Waits for it by interrupts."""
        fd = self.driver.transport.interrupt_fd
        while self.used_index == self.next_used:
            self.used_event(self.next_used)
            if self.used_index != self.next_used:
                break
            assert select.select([fd], [], [], SECONDS)[0], "the device doesn't answer"
            os.eventfd_read(fd)
            self.driver.write(mmio.INTERRUPT_ACK, self.driver.read(mmio.INTERRUPT_STATUS))
        slot = self.next_used % self.size
        head, written = struct.unpack("<II", self.memory.read(self.used + 4 + 8 * slot, 8))
        self.next_used = (self.next_used + 1) & 0xFFFF
        return head, written

    def request(self, buffers: Sequence[tuple[int, int, int]]) -> int:
        """One chain from here to its end: how many bytes the device wrote."""
        self.offer(self.chain(buffers))
        self.notify()
        head, written = self.take()
        assert head == 0
        return written


def descriptor(address: int, size: int, flags: int = 0, next: int = 0) -> bytes:
    """A descriptor as it lies in its table (2.7.5)."""
    return struct.pack("<QIHH", address, size, flags, next)
