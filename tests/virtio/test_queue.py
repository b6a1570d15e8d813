"""A virtqueue's rings, driven by hand. Source: virtio 1.2, 2.7."""

import os
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.kvm.memory import GuestMemory, anonymous
from ringlet.virtio.queue import MAX_SIZE, DriverError, Virtqueue

from .driver import WRITE, descriptor
from .queue_pair import (
    HIGH,
    LOW,
    PAGE,
    TOP,
    Pair,
    three_regions,
)


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    with three_regions() as memory:
        yield memory


# Setting up (2.7, 4.2.2).


@pytest.mark.parametrize("size", [1, 2, 4, 256, MAX_SIZE])
def test_each_power_of_two_is_a_size(memory: GuestMemory, size: int) -> None:
    queue = Virtqueue(memory, MAX_SIZE)
    queue.enable(size, 0, 0x8000, 0xC000, event_index=True)
    assert queue.ready
    assert queue.pop() is None


@pytest.mark.parametrize("size", [0, 3, 5, 255, MAX_SIZE - 1, MAX_SIZE * 2, 1 << 16, 0xFFFF_FFFF])
def test_another_size_is_refused(memory: GuestMemory, size: int) -> None:
    queue = Virtqueue(memory, MAX_SIZE)
    with pytest.raises(DriverError):
        queue.enable(size, 0, 0x8000, 0xC000, event_index=True)
    assert not queue.ready


def test_more_than_the_device_has_is_refused(memory: GuestMemory) -> None:
    queue = Virtqueue(memory, 16)
    with pytest.raises(DriverError):
        queue.enable(32, 0, 0x8000, 0xC000, event_index=True)


@pytest.mark.parametrize(
    ("descriptors", "available", "used"),
    [(8, 0x8000, 0xC000), (1, 0x8000, 0xC000), (0, 0x8001, 0xC000), (0, 0x8000, 0xC002)],
)
def test_rings_are_aligned_as_the_specification_has_it(
    memory: GuestMemory, descriptors: int, available: int, used: int
) -> None:
    with pytest.raises(DriverError):
        Virtqueue(memory, 16).enable(16, descriptors, available, used, event_index=False)
    Virtqueue(memory, 16).enable(16, 16, 0x8002, 0xC004, event_index=False)


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("end", [0x2_0000, HIGH, 1 << 64], ids=["low", "high", "top"])
def test_a_ring_ends_where_memory_does_and_not_a_byte_later(
    memory: GuestMemory, which: int, end: int
) -> None:
    size = 16
    lengths = [16 * size, 6 + 2 * size, 6 + 8 * size]
    step = [16, 2, 4][which]
    for beyond in (0, step):
        rings = [0x0, 0x8000, 0xC000]
        last = end - lengths[which]
        rings[which] = (last - last % step + beyond) % (1 << 64)
        queue = Virtqueue(memory, size)
        if beyond:
            with pytest.raises(DriverError):
                queue.enable(size, *rings, event_index=False)
        else:
            queue.enable(size, *rings, event_index=False)


@pytest.mark.parametrize("address", [0x2_0000, LOW - 16, HIGH, TOP - 16, 1 << 63])
def test_a_ring_outside_memory_is_refused(memory: GuestMemory, address: int) -> None:
    for which in range(3):
        rings = [0x0, 0x8000, 0xC000]
        rings[which] = address
        with pytest.raises(DriverError):
            Virtqueue(memory, 16).enable(16, *rings, event_index=False)


# The available ring (2.7.6).


def test_chains_come_in_the_order_of_the_ring_past_its_end_and_past_the_end_of_16_bits(
    memory: GuestMemory,
) -> None:
    pair = Pair(memory, 4)
    for index in range(4):
        pair.driver.describe(index, 0x4000, 1 + index)
    for index in range(65536 + 10):
        pair.driver.offer(index * 3 % 4)
        chain = pair.device.pop()
        assert chain is not None
        assert chain.head == index * 3 % 4
    assert pair.device.pop() is None


def test_as_many_chains_as_entries_can_wait(memory: GuestMemory) -> None:
    pair = Pair(memory)
    for index in range(8):
        pair.driver.describe(index, 0x4000, 1)
        pair.driver.offer(index)
    for index in range(8):
        chain = pair.device.pop()
        assert chain is not None
        assert chain.head == index
    assert pair.device.pop() is None


@pytest.mark.parametrize("index", [9, 10, 0x7FFF, 0x8000, 0xFFFF])
def test_more_chains_than_entries_break_the_rules(memory: GuestMemory, index: int) -> None:
    pair = Pair(memory)
    memory.write(pair.driver.available + 2, struct.pack("<H", index))
    with pytest.raises(DriverError):
        pair.device.pop()


def test_an_index_that_goes_back_breaks_the_rules(memory: GuestMemory) -> None:
    pair = Pair(memory)
    pair.pop((0x4000, 1, 0))
    memory.write(pair.driver.available + 2, struct.pack("<H", 0))
    with pytest.raises(DriverError):
        pair.device.pop()


# The used ring (2.7.8).


def test_the_driver_sees_a_used_chain_when_it_is_published(memory: GuestMemory) -> None:
    pair = Pair(memory)
    chain = pair.pop((0x4000, 16, WRITE))
    pair.device.push(chain, 7)
    assert pair.driver.used_index == 0
    assert pair.device.publish()
    assert pair.driver.used_index == 1
    assert memory.read(pair.driver.used + 4, 8) == struct.pack("<II", 0, 7)


def test_nothing_new_is_no_interrupt(memory: GuestMemory) -> None:
    for event_index in (False, True):
        pair = Pair(memory, event_index=event_index)
        assert not pair.device.publish()
        pair.use()
        assert pair.device.publish()
        assert not pair.device.publish()


def test_a_device_writes_its_ring_and_what_is_writable_and_nothing_else(
    memory: GuestMemory,
) -> None:
    for event_index in (False, True):
        pair = Pair(memory, event_index=event_index)
        pair.driver.chain([(0x4000, 16, 0), (0x5000, 16, WRITE)])
        pair.driver.offer(0)
        before = memory.read(0, 0x2_0000)
        chain = pair.device.pop()
        assert chain is not None
        pair.device.push(chain, 16)
        pair.device.publish()
        pair.device.arm()
        used, end = pair.driver.used, pair.driver.used + 6 + 8 * 8
        assert memory.read(used, 2) == bytes(2)  # its flags: never anything else than 0
        assert memory.read(0, used) == before[:used]
        assert memory.read(end, 0x2_0000 - end) == before[end:]
        memory.write(used, bytes(end - used))
        pair.driver.memory.write(pair.driver.available, bytes(4))


def test_the_used_ring_goes_round(memory: GuestMemory) -> None:
    pair = Pair(memory, 2)
    for index in range(65536 + 3):
        pair.use(index % 2, index)
        pair.device.publish()
        assert pair.driver.used_index == (index + 1) & 0xFFFF
        entry = memory.read(pair.driver.used + 4 + 8 * (index % 2), 8)
        assert entry == struct.pack("<II", index % 2, index)


def test_without_event_index_the_flag_decides_about_interrupts(memory: GuestMemory) -> None:
    pair = Pair(memory)
    for flags in (1, 0, 1, 0):
        memory.write(pair.driver.available, struct.pack("<H", flags))
        pair.driver.used_event(1000)  # to be ignored
        pair.use()
        assert pair.device.publish() is (flags == 0)


def test_with_event_index_the_flag_is_ignored(memory: GuestMemory) -> None:
    pair = Pair(memory, event_index=True)
    memory.write(pair.driver.available, struct.pack("<H", 1))
    pair.driver.used_event(0)
    pair.use()
    assert pair.device.publish()


@given(st.integers(0, 70000), st.integers(1, 8), st.integers(-10, 10))
def test_with_event_index_an_interrupt_comes_with_the_entry_that_is_asked_for(
    before: int, count: int, ahead: int
) -> None:
    with GuestMemory([anonymous(0, 0x2_0000)]) as memory:
        pair = Pair(memory, event_index=True)
        for _ in range(before % 65536):
            pair.use()
        pair.device.publish()
        event = (before + ahead) & 0xFFFF
        pair.driver.used_event(event)
        for _ in range(count):
            pair.use()
        assert pair.device.publish() is (0 <= ahead < count)
        pair.device.disable()


# Notifications (2.7.10).


def test_arming_tells_of_what_came_meanwhile(memory: GuestMemory) -> None:
    for event_index in (False, True):
        pair = Pair(memory, event_index=event_index)
        memory.write(pair.driver.available, bytes(4))
        pair.driver.next_available = 0
        assert not pair.device.arm()
        pair.driver.offer(pair.driver.chain([(0x4000, 1, 0)]))
        assert pair.device.arm()
        pair.device.pop()
        assert not pair.device.arm()


def test_arming_asks_for_the_next_entry(memory: GuestMemory) -> None:
    pair = Pair(memory, 4, event_index=True)
    event = pair.driver.used + 4 + 8 * 4
    for index in range(5):
        pair.device.arm()
        assert memory.read(event, 2) == struct.pack("<H", index)
        pair.pop((0x4000, 1, 0))


def test_without_event_index_there_is_no_event_to_write(memory: GuestMemory) -> None:
    pair = Pair(memory, 4)
    pair.pop((0x4000, 1, 0))
    pair.device.arm()
    assert memory.read(pair.driver.used + 4 + 8 * 4, 2) == bytes(2)


# And again.


def test_a_queue_begins_anew_when_it_is_enabled_again(memory: GuestMemory) -> None:
    pair = Pair(memory)
    pair.pop((0x4000, 1, 0))
    pair.use()
    pair.device.publish()
    pair.device.disable()
    assert not pair.device.ready
    memory.write(LOW, bytes(PAGE))
    memory.write(LOW, descriptor(0x4000, 3))
    pair.device.enable(8, LOW, LOW + 0x100, LOW + 0x200, event_index=False)
    assert pair.device.pop() is None
    memory.write(LOW + 0x102, struct.pack("<H", 1))
    chain = pair.device.pop()
    assert chain is not None
    assert len(chain.readable[0]) == 3
    pair.device.push(chain, 0)
    pair.device.publish()
    assert memory.read(LOW + 0x202, 2) == struct.pack("<H", 1)


def test_a_queue_that_is_off_does_not_keep_guest_memory(memory: GuestMemory) -> None:
    with GuestMemory([anonymous(0, 0x2_0000)]) as other:
        pair = Pair(other)
        chain = pair.pop((0x4000, os.sysconf("SC_PAGE_SIZE"), WRITE))
        assert chain.writable
        pair.device.disable()
        del chain
    with pytest.raises(ValueError, match="released"):
        other.read(0, 1)


def test_memory_is_not_unmapped_while_a_queue_is_on() -> None:
    memory = GuestMemory([anonymous(0, 0x2_0000)])
    pair = Pair(memory)
    pair.driver.offer(pair.driver.chain([(0x4000, 1, 0)]))
    for _ in range(2):
        with pytest.raises(BufferError):
            memory.close()
    chain = pair.device.pop()
    assert chain is not None
    assert chain.readable
    del chain
    pair.device.disable()
    memory.close()
