"""Virtio over MMIO: queues and the configuration space (virtio 1.2, 2.5, 4.2.2)."""

import random
import struct
import time
from threading import Thread

import pytest

from ringlet.virtio.device import VirtioDevice
from ringlet.virtio.queue import Chain

from ..until import until
from .driver import INDIRECT, Queue
from .registers import (
    CONFIG,
    CONFIG_GENERATION,
    DRIVER_OK,
    INTERRUPT_STATUS,
    NEEDS_RESET,
    QUEUE_READY,
    QUEUE_SEL,
    QUEUE_SIZE,
    QUEUE_SIZE_MAX,
    READY,
    STATUS,
    VERSION_1,
    Device,
    interrupted,
    settle,
)
from .rig import Scripted, answer, ask, rig

pytestmark = pytest.mark.usefixtures("no_leak")


# Queues (4.2.2, 4.2.3.2).


def test_a_queue_that_is_not_there_has_no_size_and_is_never_ready() -> None:
    with rig(Device()) as made:
        assert made.driver.negotiate(VERSION_1)
        for number, size in ((0, 64), (1, 64), (2, 0), (64, 0), (0xFFFF_FFFF, 0)):
            made.write(QUEUE_SEL, number)
            assert made.read(QUEUE_SIZE_MAX) == size
        for number in (2, 0xFFFF_FFFF):
            made.write(QUEUE_SEL, number)
            for offset in (QUEUE_SIZE, 0x80, 0x90, 0xA0, QUEUE_READY):
                made.write(offset, 1)
            assert made.read(QUEUE_READY) == 0
        assert made.read(STATUS) == READY


def test_each_queue_has_its_own_rings() -> None:
    with rig(Device()) as made:
        first, second = made.start()
        ask(second, "q", 2)
        assert second.take() == (0, 1)
        ask(first, "q", 1)
        assert first.take() == (0, 1)
        assert (answer(first), answer(second)) == (1, 2)


@pytest.mark.parametrize(
    ("register", "value"),
    [(QUEUE_SIZE, 0), (QUEUE_SIZE, 3), (QUEUE_SIZE, 128), (QUEUE_SIZE, 1 << 31), (0x80, 8)]
    + [(offset, 0xFFFF_FFF0) for offset in (0x80, 0x84, 0x90, 0x94, 0xA0, 0xA4)],
)
def test_a_queue_that_cannot_be_makes_the_device_need_a_reset(register: int, value: int) -> None:
    with rig(Device()) as made:
        assert made.driver.negotiate(VERSION_1)
        made.write(register, value)
        made.write(QUEUE_READY, 1)
        assert made.read(QUEUE_READY) == 0
        assert made.read(STATUS) == READY | NEEDS_RESET
        assert not interrupted(made)  # the driver isn't there yet
        made.write(STATUS, READY | DRIVER_OK)
        assert made.read(STATUS) == READY | DRIVER_OK | NEEDS_RESET
        queue, _ = made.start()
        ask(queue, "q")
        assert queue.take() == (0, 1)


def test_a_queue_that_cannot_be_interrupts_a_driver_that_is_there() -> None:
    with rig(Device()) as made:
        made.start()
        made.write(QUEUE_READY, 0)
        made.write(QUEUE_SEL, 0)
        made.write(QUEUE_READY, 0)
        made.write(QUEUE_SIZE, 3)
        made.write(QUEUE_READY, 1)
        assert made.read(STATUS) & NEEDS_RESET
        assert made.read(INTERRUPT_STATUS) == 2
        assert interrupted(made)


def test_a_queue_in_use_is_not_moved() -> None:
    with rig(Device()) as made:
        queue, _ = made.start()
        made.write(QUEUE_SEL, 0)
        for offset in (QUEUE_SIZE, 0x80, 0x84, 0x90, 0x94, 0xA0, 0xA4):
            made.write(offset, 0xFFFF_FFFF)
        made.write(QUEUE_READY, 1)
        ask(queue, "q", 3)
        assert queue.take() == (0, 1)
        assert made.read(STATUS) == READY | DRIVER_OK


def test_a_queue_that_is_not_ready_is_not_touched_until_it_is_again() -> None:
    with rig(Device()) as made:
        queue, _ = made.start()
        made.write(QUEUE_SEL, 0)
        made.write(QUEUE_READY, 0)
        assert made.read(QUEUE_READY) == 0
        before = made.memory.read(queue.used, 6 + 8 * queue.size)
        ask(queue, "q", 3)
        settle(made)
        assert made.memory.read(queue.used, 6 + 8 * queue.size) == before
        moved = Queue(made.driver, 0, 4, 0x6000)
        moved.enable()
        ask(moved, "q", 4)
        assert moved.take() == (0, 1)
        assert answer(moved) == 4


def test_a_queue_stops_when_its_requests_are_done() -> None:
    device = Device()
    with rig(device) as made:
        queue, _ = made.start()
        ask(queue, "s", 7)
        until(lambda: device.begun)
        made.write(QUEUE_SEL, 0)
        stopping = Thread(target=made.write, args=(QUEUE_READY, 0))
        stopping.start()
        time.sleep(0.01)
        device.let(7)
        stopping.join()
        assert queue.used_index == 1


def test_a_queue_that_is_ready_is_found_without_a_notification() -> None:
    with rig(Device()) as made:
        queue, _ = made.start()
        made.write(QUEUE_SEL, 0)
        made.write(QUEUE_READY, 0)
        ask(queue, "q", 3)
        made.write(QUEUE_READY, 1)
        assert queue.take() == (0, 1)


def test_queues_work_at_the_end_of_memory_and_of_each_size() -> None:
    with rig(Device()) as made:
        for size in (1, 2, 4, 8, 16, 32, 64):
            assert made.driver.negotiate(VERSION_1)
            queue = Queue(made.driver, 0, size, (made.memory.size - 32 * size) // 4096 * 4096)
            queue.enable()
            made.write(STATUS, READY | DRIVER_OK)
            for byte in range(3):
                # One descriptor that holds both parts: a table of two.
                made.memory.write(0x8000, bytes((ord("q"), byte)))
                made.memory.write(
                    0x8100,
                    struct.pack("<QIHHQIHH", 0x8000, 2, 1, 1, 0x8002, 1, 2, 0),
                )
                assert queue.request([(0x8100, 32, INDIRECT)]) == 1
                assert answer(queue) == byte


# The configuration space (2.5).


def test_the_configuration_is_read_in_each_width_at_each_place_from_the_beginning() -> None:
    with rig(Device()) as made:
        space = Device.config + bytes(16)
        for size in (1, 2, 4, 8):
            for offset in range(len(Device.config) + 4):
                value = int.from_bytes(space[offset : offset + size], "little")
                assert made.transport.read(CONFIG + offset, size) == value
        assert made.transport.read(0xFFC, 4) == 0


def test_what_is_written_to_the_configuration_goes_to_the_device_within_it() -> None:
    device = Device()
    with rig(device) as made:
        made.transport.write(CONFIG, 1, 0xAB)
        made.transport.write(CONFIG + 9, 2, 0x1234)
        made.transport.write(CONFIG + 10, 2, 0x1234)  # one byte of it is outside
        made.transport.write(CONFIG + 4, 4, 0x1234_5678)
        made.transport.write(0xFFC, 4, 1)
        assert device.written == [(0, b"\xab"), (9, b"\x34\x12"), (4, b"\x78\x56\x34\x12")]


def test_a_device_without_configuration_has_zeros() -> None:
    with rig(Scripted()) as made:
        assert made.read(CONFIG) == 0
        made.write(CONFIG, 5)
        assert made.read(CONFIG) == 0


def test_a_change_of_the_configuration_has_another_generation_and_an_interrupt() -> None:
    device = Device()
    with rig(device) as made:
        generation = made.read(CONFIG_GENERATION)
        device.change_config(b"\7")
        assert made.read(CONFIG_GENERATION) != generation
        assert made.read(CONFIG) == 7
        assert not interrupted(made)  # nobody is there
        made.start()
        device.change_config(b"\7")
        assert made.read(INTERRUPT_STATUS) == 2
        assert interrupted(made)


def test_the_configuration_is_never_seen_half_changed() -> None:
    device = Device()
    with rig(device) as made:
        done = False

        def change() -> None:
            choose = random.Random(1)
            while not done:
                device.change_config(bytes((choose.randrange(256),)) * 8)

        changing = Thread(target=change)
        changing.start()
        for _ in range(3000):
            generation = made.read(CONFIG_GENERATION)
            halves = made.read(CONFIG), made.read(CONFIG + 4)
            if made.read(CONFIG_GENERATION) == generation:
                assert halves[0] == halves[1] or generation == 0
        done = True
        changing.join()


class Switch(VirtioDevice):
    """A field that the driver writes, and one that follows it."""

    device_id = 42
    config = bytes(2)

    def handle(self, queue: int, chain: Chain) -> int:
        return 0

    def write_config(self, offset: int, data: bytes) -> None:
        self.change_config(data[:1] * 2)

    def reset(self) -> None:
        self.config = bytes(2)


def test_a_write_to_the_configuration_may_change_it() -> None:
    with rig(Switch()) as made:
        made.start()
        generation = made.read(CONFIG_GENERATION)
        made.transport.write(CONFIG, 1, 9)
        assert made.transport.read(CONFIG, 2) == 0x0909
        assert made.read(CONFIG_GENERATION) != generation
        assert interrupted(made)


def test_a_reset_may_change_the_configuration() -> None:
    with rig(Switch()) as made:
        made.transport.write(CONFIG, 1, 9)
        generation = made.read(CONFIG_GENERATION)
        made.write(STATUS, 0)
        assert made.transport.read(CONFIG, 2) == 0
        assert made.read(CONFIG_GENERATION) != generation
