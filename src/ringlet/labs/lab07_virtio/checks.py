"""The checks of lab 7: the student's device between a driver of the grader's and a random disk.

In one check the driver is that of the guest `blk`, in a machine of ringlet's; in the others the
driver is Python (driver.py), which looks at each access to its memory. Nobody has seen the disk's
content before, nor where the queue is.

Source: virtio 1.2, 2.1 (status), 2.7 (split virtqueues), 4.2 (MMIO), 5.2 (block device).
"""

from __future__ import annotations

import random
from contextlib import contextmanager

from ringlet.errors import RingletError
from ringlet.labs.check import NO_KVM, Check, Failed
from ringlet.labs.lab07_virtio.driver import (
    IO_ERROR,
    NEXT,
    OK,
    READ,
    SECTOR,
    TO_GUEST,
    UNSUPPORTED,
    VERSION_1,
    WRITE,
    Driver,
)
from ringlet.labs.lab07_virtio.remote import connected
from ringlet.machine.config import MachineConfig
from ringlet.machine.machine import Machine
from ringlet.virtio import mmio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringlet.labs.lab07_virtio.remote import Remote
    from ringlet.labs.work import Work

_ADDRESS, _IRQ = 0xD000_0000, 16
_MAGIC, _BLOCK = 0x74726976, 2
_GUEST_STATUS_OK = 0

_random = random.SystemRandom()


def _new_disk() -> bytes:
    return _random.randbytes(_random.randrange(16, 32) * SECTOR)


@contextmanager
def _driven(work: Work, size: int = 8) -> Iterator[tuple[Driver, bytes]]:
    """Yields a driver of the student's device, which is up, and the content of its disk."""
    content = _new_disk()
    with connected(work, content) as device:
        driver = Driver(device, size)
        driver.set_up()
        yield driver, content


def _sectors(content: bytes, sector: int, count: int) -> bytes:
    return content[sector * SECTOR :][: count * SECTOR]


def is_a_disk(work: Work) -> str:
    """The registers that tell what the device is."""
    content = _new_disk()
    with connected(work, content) as device:
        for name, register, expected in (
            ("MagicValue", mmio.MAGIC_VALUE, _MAGIC),
            ("Version", mmio.VERSION, 2),
            ("DeviceID", mmio.DEVICE_ID, _BLOCK),
            ("the lower half of the capacity", mmio.CONFIG, len(content) // SECTOR),
            ("the upper half of the capacity", mmio.CONFIG + 4, 0),
        ):
            value = device.read(register)
            if value != expected:
                raise Failed(f"{name} (at {register:#05x}) is {value:#x}, not {expected:#x}")
        for queue, has in ((1, False), (0, True)):
            device.write(mmio.QUEUE_SEL, queue)
            most = device.read(mmio.QUEUE_SIZE_MAX)
            if bool(most) != has:
                raise Failed(f"QueueSizeMax of queue {queue} is {most}")
        return f"a block device of {len(content) // SECTOR} sectors, with one queue of {most}"


def agrees_on_features(work: Work) -> str:
    """Features are negotiated, and a reset forgets all."""
    with connected(work, _new_disk()) as device:
        driver = Driver(device)
        offered = 0
        for half in (1, 0):
            device.write(mmio.DEVICE_FEATURES_SEL, half)
            offered |= device.read(mmio.DEVICE_FEATURES) << 32 * half
        if not offered & VERSION_1:
            raise Failed(f"the device offers the features {offered:#x}, without VERSION_1")
        unknown = _random.choice([bit for bit in range(24) if not offered >> bit & 1])
        for refused in (0, VERSION_1 | 1 << unknown):
            if driver.negotiate(refused):
                raise Failed(f"FEATURES_OK stays set for the features {refused:#x}")
        driver.set_up()
        status = device.read(mmio.STATUS)
        if status != 15:
            raise Failed(f"the status is {status:#x}, and the driver wrote 0xf")
        if device.read(mmio.QUEUE_READY) != 1:
            raise Failed("QueueReady is 0 after the driver wrote 1")
        device.write(mmio.STATUS, 0)
        for name, register in (
            ("the status", mmio.STATUS),
            ("QueueReady", mmio.QUEUE_READY),
            ("InterruptStatus", mmio.INTERRUPT_STATUS),
        ):
            if device.read(register):
                raise Failed(f"after a reset, {name} isn't 0")
        device.write(mmio.STATUS, mmio.ACKNOWLEDGE | mmio.DRIVER)
        device.write(mmio.STATUS, mmio.ACKNOWLEDGE | mmio.DRIVER | mmio.FEATURES_OK)
        if device.read(mmio.STATUS) & mmio.FEATURES_OK:
            raise Failed("after a reset, the device still has the driver's features of before")
    return f"it offers {offered:#x}, refuses what it doesn't offer, and a reset forgets all"


def reads_a_sector(work: Work) -> str:
    """A read brings the sectors of the disk into guest memory, and then into the used ring."""
    with _driven(work) as (driver, content):
        count = _random.randrange(2, 4)
        sector = _random.randrange(1, len(content) // SECTOR - count)
        request = driver.add(READ, sector, bytes(count * SECTOR), to_guest=True, first=SECTOR)
        used = driver.notify()
        driver.require_used(used, [request])
        if driver.data_of(request) != _sectors(content, sector, count):
            raise Failed(f"the two buffers haven't the content of sectors {sector} and on")
        if driver.status_of(request) != OK:
            raise Failed(f"the status byte is {driver.status_of(request):#x}")
        if used[0][1] != count * SECTOR + 1:
            raise Failed(f"the used length is {used[0][1]}, and {count * SECTOR + 1} were written")
        _require_order(driver.device, driver.used)
        return f"sectors {sector} and on are in the buffers, and the index came last"


def _require_order(device: Remote, used: int) -> None:
    """Raises `Failed` if something was written after the index that tells the driver of it."""
    index = [n for n, write in enumerate(device.writes) if write.touches(used + 2, 2)]
    if index and index[0] != len(device.writes) - 1:
        raise Failed("the device wrote to the guest's memory after the index of the used ring")


def keeps_the_ring_s_order(work: Work) -> str:
    """Several requests at one notification, and more requests than the ring has places."""
    with _driven(work) as (driver, content):
        last = len(content) // SECTOR - 1
        done = 0
        for _ in range(6):
            sectors = [_random.randrange(last) for _ in range(2)]
            requests = [driver.add(READ, one, bytes(SECTOR), to_guest=True) for one in sectors]
            driver.require_used(driver.notify(), requests)
            for request, sector in zip(requests, sectors, strict=True):
                if driver.data_of(request) != _sectors(content, sector, 1):
                    raise Failed(f"request {done} of 12 didn't get sector {sector}")
                done += 1
        return f"{done} requests in a ring of {driver.size}, two at each notification"


def writes_sectors(work: Work) -> str:
    """What the driver writes is read again, and the rest of the disk stays as it was."""
    with _driven(work) as (driver, content):
        count = _random.randrange(2, 4)
        sector = _random.randrange(1, len(content) // SECTOR - count - 1)
        data = _random.randbytes(count * SECTOR)
        request = driver.add(WRITE, sector, data, to_guest=False, first=SECTOR)
        used = driver.notify()
        driver.require_used(used, [request])
        if driver.status_of(request) != OK:
            raise Failed(f"the status byte of a write is {driver.status_of(request):#x}")
        if used[0][1] != 1:
            raise Failed(f"the used length of a write is {used[0][1]}: a status has 1 byte")
        around = bytes((count + 2) * SECTOR)
        seen = driver.data_of(driver.do(READ, sector - 1, around, to_guest=True))
        if seen[SECTOR:-SECTOR] != data:
            raise Failed("the sectors that were written have another content when read again")
        expected = _sectors(content, sector - 1, 1) + data + _sectors(content, sector + count, 1)
        if seen != expected:
            raise Failed("a sector beside those that were written has changed")
        return f"sectors {sector} to {sector + count - 1} have the driver's data"


def interrupts(work: Work) -> str:
    """A used buffer interrupts, and the acknowledgement clears the reason."""
    with _driven(work) as (driver, _):
        device = driver.device
        if device.read(mmio.INTERRUPT_STATUS) or device.interrupts:
            raise Failed("there is an interrupt before the first request")
        driver.do(READ, 0, bytes(SECTOR), to_guest=True)
        reason = device.read(mmio.INTERRUPT_STATUS)
        if not device.interrupts or reason != mmio.USED_BUFFER:
            raise Failed(f"{device.interrupts} interrupts, and InterruptStatus is {reason:#x}")
        device.write(mmio.INTERRUPT_ACK, reason)
        left = device.read(mmio.INTERRUPT_STATUS)
        if left:
            raise Failed(f"after InterruptACK, InterruptStatus is {left:#x}")
        return "an interrupt with the reason 1, which the driver acknowledged"


class _Registers:
    """The device on the machine's bus: hands each access to the student's device."""

    state: dict[str, int]

    def __init__(self, device: Remote) -> None:
        self.device = device
        self.failed: Failed | None = None
        self.state = {}

    def read(self, offset: int, size: int) -> int:
        try:
            return self.device.read(offset)
        except Failed as failed:
            self.failed = self.failed or failed
            raise

    def write(self, offset: int, size: int, value: int) -> None:
        try:
            self.device.write(offset, value)
        except Failed as failed:
            self.failed = self.failed or failed
            raise


def works_in_a_machine(work: Work) -> str:
    """The guest `blk` uses the disk, and leaves on it what the grader then reads."""
    content = _new_disk()
    line = f"virtio_mmio.device=4K@{_ADDRESS:#x}:{_IRQ} keep"
    config = MachineConfig(image="blk", cmdline=line, serial="none", timeout=work.patience)
    with connected(work, content) as device:
        with Machine(config) as machine:
            wire = machine.irq_line(_IRQ)
            device.memory = machine.memory

            def interrupt() -> None:
                wire.set(True)
                wire.set(False)

            device.interrupt = interrupt
            registers = _Registers(device)
            machine.add_mmio_device(_ADDRESS, 0x1000, registers)
            try:
                result = machine.run()
            except RingletError:
                raise registers.failed or Failed("the machine failed") from None
        if result.status != _GUEST_STATUS_OK:
            raise Failed(f"the guest's driver ended with status {result.status}: {result.reason}")
        device.interrupt = lambda: None
        driver = Driver(device)
        driver.set_up()
        seen = driver.data_of(driver.do(READ, 0, bytes(8 * SECTOR), to_guest=True))
    if seen != _as_blk_writes(content):
        raise Failed("the guest ended well, and its data isn't on the disk")
    return "the guest's driver wrote 8 sectors, and the disk has them"


def _as_blk_writes(content: bytes) -> bytes:
    """What guests/blk/blk.c writes to the first 8 sectors of a disk."""
    words = range(8 * SECTOR // 8)
    factor, mask = 0x9E37_79B9_7F4A_7C15, (1 << 64) - 1
    old = [int.from_bytes(content[8 * at :][:8], "little") for at in words]
    return b"".join((old[at] ^ (at + 1) * factor & mask).to_bytes(8, "little") for at in words)


def refuses_bad_requests(work: Work) -> str:
    """A request that can't be carried out gets its status, and the next one is carried out."""
    with _driven(work) as (driver, content):
        last = len(content) // SECTOR - 1
        unknown = _random.randrange(100, 1000)
        far = _random.choice((1 << 63, (1 << 64) - 1, last + 1000))
        tries = [
            ("a read that ends behind the disk", READ, last, 2, True, IO_ERROR),
            ("a write that ends behind the disk", WRITE, last, 2, False, IO_ERROR),
            (f"a read of sector {far}", READ, far, 1, True, IO_ERROR),
            (f"a request of type {unknown}", unknown, 0, 1, True, UNSUPPORTED),
        ]
        for what, kind, sector, count, to_guest, expected in _random.sample(tries, len(tries)):
            data = _random.randbytes(count * SECTOR)
            status = driver.status_of(driver.do(kind, sector, data, to_guest=to_guest))
            if status != expected:
                raise Failed(f"the status byte of {what} is {status:#x}, not {expected}")
        request = driver.do(READ, 0, bytes((last + 1) * SECTOR), to_guest=True)
        if driver.data_of(request) != content or driver.status_of(request) != OK:
            raise Failed("after that, the disk has another content or size")
        return "each got its status, and the disk is as it was"


def survives_a_bad_queue(work: Work) -> str:
    """A queue that breaks the rules stops the device until a reset, and breaks nothing else."""
    with _driven(work) as (driver, content):
        kinds = ("a circle of descriptors", "a buffer outside of memory", "a descriptor too high")
        for what in _random.sample(kinds, len(kinds)):
            header = driver.ram.put(bytes(16))
            first, second = driver.free[:2]
            driver.describe(first, header, 16, NEXT, second)
            if what == kinds[0]:
                driver.describe(second, header, 16, NEXT | TO_GUEST, second)
            elif what == kinds[1]:
                driver.describe(first, driver.ram.base - 4096, 16, NEXT, second)
                driver.describe(second, header, 1, TO_GUEST, 0)
            else:
                driver.describe(first, header, 16, NEXT, driver.size + _random.randrange(9))
            driver.make_available(first)
            driver.notify()
            if not driver.is_broken:
                raise Failed(f"after {what}, DEVICE_NEEDS_RESET isn't set in the status")
            driver.add(READ, 0, bytes(SECTOR), to_guest=True)
            if driver.notify():
                raise Failed(f"after {what}, the device takes a request before it is reset")
            driver = _again(driver, content)
        return "circle, address and number: it stopped, and worked again after a reset"


def _again(driver: Driver, content: bytes) -> Driver:
    """Resets the device and reads a sector. Returns the driver, which has another queue."""
    device = driver.device
    device.write(mmio.STATUS, 0)
    driver = Driver(device)
    driver.set_up()
    sector = _random.randrange(len(content) // SECTOR)
    request = driver.do(READ, sector, bytes(SECTOR), to_guest=True)
    if driver.data_of(request) != _sectors(content, sector, 1):
        raise Failed("after a reset, the device reads no sector")
    return driver


CHECKS = (
    Check(
        "the registers say what the device is",
        1,
        10,
        "MagicValue, Version 2, DeviceID 2, the capacity in sectors, and a queue 0",
        "each register has 32 bits; the capacity has 64, at CONFIG and CONFIG + 4",
        is_a_disk,
        NO_KVM,
    ),
    Check(
        "driver and device agree on features",
        1,
        20,
        "VERSION_1 is offered; FEATURES_OK stays 0 if the driver takes other features; a write of "
        "0 to the status resets the device",
        "the registers ...FeaturesSel choose the half: 0 for bits 0 to 31, 1 for bits 32 to 63",
        agrees_on_features,
        NO_KVM,
    ),
    Check(
        "a read request",
        2,
        15,
        "the sectors in the driver's two buffers, status 0, and then the chain in the used ring "
        "with the number of bytes that were written, and last of all the ring's index",
        "the addresses of the queue have two halves; a chain is header, one or more descriptors of "
        "data, status; the status byte counts as written, too",
        reads_a_sector,
        NO_KVM,
    ),
    Check(
        "the ring goes round",
        2,
        10,
        "12 requests in a queue of 8, two at each notification, in their order",
        "take requests until your index is the driver's; a place in a ring is index modulo size; "
        "follow `next`",
        keeps_the_ring_s_order,
        NO_KVM,
    ),
    Check(
        "a write request",
        2,
        10,
        "the driver's sectors, from two buffers, on the disk, all others as before, and a used "
        "length of 1",
        "take the data of each descriptor; the used length counts what the device wrote to the "
        "guest: here the status byte alone",
        writes_sectors,
        NO_KVM,
    ),
    Check(
        "an interrupt",
        2,
        5,
        "an interrupt and InterruptStatus 1 after a request; InterruptStatus 0 after InterruptACK",
        "set the bit, then call self.interrupt(); the driver writes the bits that it has seen",
        interrupts,
        NO_KVM,
    ),
    Check(
        "a guest's driver works with it",
        2,
        10,
        "the guest `blk` in a virtual machine ends with status 0, and its data is on the disk",
        "python3 run.py shows what the guest says; GET_ID is a request, too",
        works_in_a_machine,
    ),
    Check(
        "a bad request is refused",
        3,
        10,
        "status 1 for sectors that aren't on the disk, status 2 for an unknown type, no change of "
        "the disk, and the next request works",
        "check the last sector, and not only the first one, before you change anything",
        refuses_bad_requests,
        NO_KVM,
    ),
    Check(
        "a bad queue stops the device, and no more",
        3,
        10,
        "DEVICE_NEEDS_RESET after a circle, after an address without memory, and after a number "
        "that is too high; after a reset the device works again",
        "a chain has at most as many descriptors as the queue; catch IndexError of the memory; as "
        "long as DEVICE_NEEDS_RESET is set, a write to QueueNotify does nothing",
        survives_a_bad_queue,
        NO_KVM,
    ),
)
