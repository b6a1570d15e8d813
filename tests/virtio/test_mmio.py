"""Virtio over MMIO: features, status, interrupts (virtio 1.2, 2.1 to 2.4, 4.2.2)."""

import random
import time
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.virtio.device import TRANSPORT_FEATURES

from ..until import until
from .driver import Driver, Queue
from .registers import (
    ACKNOWLEDGE,
    CONFIG,
    CONFIG_GENERATION,
    DEVICE_FEATURES,
    DEVICE_FEATURES_SEL,
    DRIVER,
    DRIVER_FEATURES,
    DRIVER_FEATURES_SEL,
    DRIVER_OK,
    EVENT_IDX,
    FAILED,
    FEATURES_OK,
    IN_ORDER,
    INDIRECT_DESC,
    INTERRUPT_ACK,
    INTERRUPT_STATUS,
    NEEDS_RESET,
    OWN,
    QUEUE_READY,
    QUEUE_SEL,
    QUEUE_SIZE,
    READ_ONLY,
    READY,
    STATUS,
    VERSION_1,
    WRITE_ONLY,
    Device,
    interrupted,
    settle,
)
from .rig import answer, ask, rig

pytestmark = pytest.mark.usefixtures("no_leak")


# Constants.


def test_the_device_says_what_it_is() -> None:
    with rig(Device()) as made:
        assert made.read(0x000) == 0x74726976
        assert made.read(0x004) == 2
        assert made.read(0x008) == 42
        assert made.read(0x00C).to_bytes(4, "little") == b"RNGL"


def test_there_is_no_shared_memory() -> None:
    with rig(Device()) as made:
        for region in (0, 1, 0xFFFF_FFFF):
            made.write(0xAC, region)
            assert [made.read(offset) for offset in (0xB0, 0xB4, 0xB8, 0xBC)] == [0xFFFF_FFFF] * 4


def test_registers_that_are_written_and_those_that_are_not_read_as_zero() -> None:
    with rig(Device()) as made:
        made.start()
        others = set(range(0, CONFIG, 4)) - {*READ_ONLY, QUEUE_READY, STATUS}
        for offset in {*WRITE_ONLY, *others}:
            assert made.read(offset) == 0


def test_registers_that_are_read_cannot_be_written() -> None:
    with rig(Device()) as made:
        made.start()
        before = [made.read(offset) for offset in READ_ONLY]
        for value in (0, 1, 0xFFFF_FFFF):
            for offset in READ_ONLY:
                made.write(offset, value)
        assert [made.read(offset) for offset in READ_ONLY] == before


@pytest.mark.parametrize("size", [1, 2, 8])
def test_another_width_than_32_bits_reads_zero_and_writes_nothing(size: int) -> None:
    with rig(Device()) as made:
        made.start()
        made.write(QUEUE_SEL, 1)
        for offset in set(range(0, CONFIG, 4)) - {INTERRUPT_STATUS}:
            assert made.transport.read(offset, size) == 0
        for offset in (STATUS, QUEUE_SEL, QUEUE_READY, QUEUE_SIZE, DRIVER_FEATURES):
            made.transport.write(offset, size, 0)
        assert made.read(STATUS) == READY | DRIVER_OK
        assert made.read(QUEUE_READY) == 1


# Features (2.2).


def test_the_device_offers_its_own_features_and_the_transports() -> None:
    with rig(Device()) as made:
        assert made.driver.features == OWN | VERSION_1 | EVENT_IDX | INDIRECT_DESC
        for word in (2, 3, 0x8000_0000, 0xFFFF_FFFF):
            made.write(DEVICE_FEATURES_SEL, word)
            assert made.read(DEVICE_FEATURES) == 0


@pytest.mark.parametrize(
    "features",
    [VERSION_1, VERSION_1 | EVENT_IDX, VERSION_1 | OWN, OWN | TRANSPORT_FEATURES],
)
def test_each_subset_with_version_1_is_accepted_again_and_again(features: int) -> None:
    device = Device()
    with rig(device) as made:
        for _ in range(2):
            assert made.driver.negotiate(features)
            assert device.driver_features == features
        made.write(STATUS, 0)
        assert device.driver_features == 0


@pytest.mark.parametrize(
    "features",
    [0, OWN, EVENT_IDX, VERSION_1 | 1, VERSION_1 | IN_ORDER, VERSION_1 | 1 << 34, (1 << 64) - 1],
    ids=hex,
)
def test_what_was_not_offered_or_lacks_version_1_is_not_accepted(features: int) -> None:
    device = Device()
    with rig(device) as made:
        assert not made.driver.negotiate(features)
        assert made.read(STATUS) == ACKNOWLEDGE | DRIVER
        assert device.driver_features == 0
        # The driver may think again.
        for word in (0, 1):
            made.write(DRIVER_FEATURES_SEL, word)
            made.write(DRIVER_FEATURES, VERSION_1 >> 32 * word & 0xFFFF_FFFF)
        made.write(STATUS, READY)
        assert made.read(STATUS) == READY


def test_features_stay_as_they_were_negotiated() -> None:
    device = Device()
    with rig(device) as made:
        assert made.driver.negotiate(VERSION_1)
        made.write(DRIVER_FEATURES_SEL, 0)
        made.write(DRIVER_FEATURES, EVENT_IDX)
        made.write(STATUS, READY | DRIVER_OK)
        assert device.driver_features == VERSION_1


def test_a_word_of_features_that_does_not_exist_is_ignored() -> None:
    device = Device()
    with rig(device) as made:
        made.write(DRIVER_FEATURES_SEL, 1)
        made.write(DRIVER_FEATURES, 1)
        for word in (2, 33, 0xFFFF_FFFF):
            made.write(DRIVER_FEATURES_SEL, word)
            made.write(DRIVER_FEATURES, 0xFFFF_FFFF)
        made.write(STATUS, READY)
        assert device.driver_features == VERSION_1


def test_event_index_is_used_only_if_negotiated() -> None:
    for features in (VERSION_1, VERSION_1 | EVENT_IDX):
        with rig(Device()) as made:
            queue, _ = made.start(features)
            queue.used_event(5)
            ask(queue, "q")
            until(lambda: queue.used_index)  # noqa: B023
            settle(made)
            assert interrupted(made) is (features == VERSION_1)


# Status (2.1) and reset (2.4).


def test_status_bits_add_up() -> None:
    with rig(Device()) as made:
        made.write(DRIVER_FEATURES_SEL, 1)
        made.write(DRIVER_FEATURES, 1)
        status = 0
        for bit in (ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK, FAILED):
            made.write(STATUS, bit)
            status |= bit
            assert made.read(STATUS) == status


def test_the_driver_cannot_say_that_the_device_needs_a_reset() -> None:
    with rig(Device()) as made:
        made.write(STATUS, ACKNOWLEDGE | NEEDS_RESET)
        assert made.read(STATUS) == ACKNOWLEDGE


def test_a_reset_brings_everything_back() -> None:
    device = Device()
    with rig(device) as made:
        fresh = [made.read(offset) for offset in range(0, CONFIG, 4) if offset != CONFIG_GENERATION]
        queue, _ = made.start(TRANSPORT_FEATURES | OWN)
        ask(queue, "q")
        until(lambda: made.read(INTERRUPT_STATUS))
        made.write(QUEUE_SEL, 1)
        made.write(DEVICE_FEATURES_SEL, 1)
        made.write(STATUS, 0)
        assert made.read(STATUS) == 0
        again = [made.read(offset) for offset in range(0, CONFIG, 4) if offset != CONFIG_GENERATION]
        assert again == fresh
        assert device.resets == 2  # the driver begins with one
        made.write(QUEUE_SEL, 1)
        assert made.read(QUEUE_READY) == 0


def test_a_reset_forgets_the_size_and_the_addresses_of_a_queue() -> None:
    with rig(Device()) as made:
        made.start()
        assert made.driver.negotiate(VERSION_1)
        made.write(QUEUE_READY, 1)  # all three rings at 0, with as many entries as there can be
        assert made.read(QUEUE_READY) == 1
        made.write(STATUS, READY | DRIVER_OK)
        settle(made)
        assert made.read(STATUS) == READY | DRIVER_OK


def test_a_reset_waits_for_the_requests_under_way_and_nothing_is_written_after_it() -> None:
    device = Device()
    with rig(device) as made:
        queue, _ = made.start()
        ask(queue, "s", 7)
        until(lambda: device.begun)
        resetting = Thread(target=made.write, args=(STATUS, 0))
        resetting.start()
        time.sleep(0.01)
        device.let(7)
        resetting.join()
        assert device.done == [7]
        interrupted(made)
        before = made.memory.read(0, made.memory.size)
        ask(queue, "q", 1, 1)
        made.memory.write(0x1000, before[0x1000:0x9000])
        settle(made)
        assert made.memory.read(0, made.memory.size) == before
        assert not interrupted(made)


def test_nothing_is_done_before_driver_ok() -> None:
    with rig(Device()) as made:
        assert made.driver.negotiate(VERSION_1)
        queue = Queue(made.driver, 0, 16, 0x1000)
        queue.enable()
        ask(queue, "q", 5)
        settle(made)
        assert queue.used_index == 0
        assert not interrupted(made)
        made.write(STATUS, READY | DRIVER_OK)
        assert queue.take() == (0, 1)  # without another notification


def test_driver_ok_without_features_ok_starts_nothing() -> None:
    with rig(Device()) as made:
        made.write(STATUS, ACKNOWLEDGE | DRIVER | DRIVER_OK)
        queue = Queue(made.driver, 0, 16, 0x1000)
        queue.enable()
        assert made.read(QUEUE_READY) == 0
        ask(queue, "q")
        settle(made)
        assert queue.used_index == 0


# Interrupts (4.2.2.1).


def test_an_event_is_shown_until_it_is_acknowledged() -> None:
    device = Device()
    with rig(device) as made:
        queue, _ = made.start(VERSION_1)
        assert made.read(INTERRUPT_STATUS) == 0
        ask(queue, "q")
        until(lambda: made.read(INTERRUPT_STATUS))
        assert made.read(INTERRUPT_STATUS) == 1
        device.change_config(b"new")
        assert made.read(INTERRUPT_STATUS) == 3
        made.write(INTERRUPT_ACK, 0)
        made.write(INTERRUPT_ACK, 0xFFFF_FFFC)
        assert made.read(INTERRUPT_STATUS) == 3
        made.write(INTERRUPT_ACK, 1)
        assert made.read(INTERRUPT_STATUS) == 2
        made.write(INTERRUPT_ACK, 2)
        assert made.read(INTERRUPT_STATUS) == 0


def test_no_interrupt_where_the_driver_wants_none() -> None:
    with rig(Device()) as made:
        queue, _ = made.start(VERSION_1)
        made.memory.write(queue.available, b"\1\0")
        ask(queue, "q")
        until(lambda: queue.used_index)
        settle(made)
        assert not interrupted(made)
        assert made.read(INTERRUPT_STATUS) == 0


# Whatever is written.

OFFSETS = st.one_of(
    st.sampled_from([*WRITE_ONLY, *READ_ONLY, QUEUE_READY, STATUS, CONFIG]), st.integers(0, 0xFFF)
)
VALUES = st.one_of(
    st.sampled_from([0, 1, 2, 3, 7, 8, 15, 64, 0xFFFF_FFFF, (1 << 64) - 1]),
    st.integers(0, (1 << 64) - 1),
)
ACCESSES = st.tuples(OFFSETS, st.sampled_from([1, 2, 4, 4, 4, 8]), st.none() | VALUES)


@given(st.lists(ACCESSES, max_size=60))
def test_any_access_is_answered_and_a_reset_makes_a_working_device(
    accesses: list[tuple[int, int, int | None]],
) -> None:
    with rig(Device()) as made:
        for offset, size, value in accesses:
            if value is None:
                assert 0 <= made.transport.read(offset, size) < 1 << 8 * size
            else:
                made.transport.write(offset, size, value & (1 << 8 * size) - 1)
        made.memory.write(0, bytes(0x10000))
        queue, _ = made.start()
        ask(queue, "q", 5)
        assert queue.take() == (0, 1)
        assert answer(queue) == 5


def test_several_vcpus_may_use_the_registers_at_once() -> None:
    with rig(Device()) as made:
        made.start()

        def use(seed: int) -> None:
            choose = random.Random(seed)
            for _ in range(2000):
                offset = choose.choice([*WRITE_ONLY, *READ_ONLY, QUEUE_READY, STATUS])
                if choose.random() < 0.5:
                    made.transport.read(offset, 4)
                else:
                    made.transport.write(offset, 4, choose.choice([0, 1, 2, 15, 0x1000]))

        users = [Thread(target=use, args=(seed,)) for seed in range(3)]
        for user in users:
            user.start()
        for user in users:
            user.join()
        queue, _ = Driver(made.transport, made.memory).start()
        ask(queue, "q", 5)
        assert queue.take() == (0, 1)


def test_closing_again_is_harmless() -> None:
    with rig(Device()) as made:
        made.start()
        made.transport.close()
        made.transport.close()
