"""The entropy device: what it gives, how fast, and that nothing waits for it."""

import time

import pytest

from ringlet.virtio import mmio
from ringlet.virtio.entropy import MOST, QUEUE_SIZE, Entropy

from ..until import until
from .driver import WRITE
from .rig import rig

pytestmark = pytest.mark.usefixtures("no_leak")

SLOW = 0.001  # bytes a second: nothing comes after the first request


def test_it_fills_each_buffer_of_a_request() -> None:
    device = Entropy()
    with rig(device) as made:
        (queue,) = made.start()
        assert queue.request([(0x8000, 64, WRITE), (0x9000, 100, WRITE)]) == 164
        first, second = made.memory.read(0x8000, 64), made.memory.read(0x9000, 100)
        assert len(set(first + second)) > 64  # of 256 values
        assert made.memory.read(0x8000 + 64, 64) == bytes(64)
        assert device.state == {"given": 164}


def test_a_request_gets_so_much_and_no_more() -> None:
    with rig(Entropy()) as made:
        (queue,) = made.start()
        assert queue.request([(0x1_0000, 2 * MOST, WRITE)]) == MOST
        assert made.memory.read(0x1_0000 + MOST, MOST) == bytes(MOST)


def test_so_many_bytes_a_second_take_their_time() -> None:
    with rig(Entropy(rate=100_000)) as made:
        (queue,) = made.start()
        start = time.monotonic()
        for _ in range(5):
            assert queue.request([(0x8000, 5_000, WRITE)]) == 5_000
        assert time.monotonic() - start >= 0.2  # four times 50 ms: the first doesn't wait


def test_nothing_waits_for_a_request_whose_time_has_not_come() -> None:
    with rig(Entropy(rate=SLOW)) as made:
        for _ in range(3):
            (queue,) = made.start()
            for slot in range(4):
                queue.offer(queue.chain([(0x8000 + 64 * slot, 64, WRITE)], slot))
            queue.notify()
            until(lambda: len(made.transport.state["queues"][0]["kept"]) >= 3)
            made.transport.quiesce()
            made.transport.resume()
            made.write(mmio.STATUS, 0)
            assert made.transport.state["queues"][0]["kept"] == []


def test_the_limit_outlasts_a_reset() -> None:
    device = Entropy(rate=SLOW)
    with rig(device) as made:
        (queue,) = made.start()
        assert queue.request([(0x8000, 64, WRITE)]) == 64
        (queue,) = made.start()
        queue.offer(queue.chain([(0x8000, 64, WRITE)]))
        queue.notify()
        until(lambda: made.transport.state["queues"][0]["kept"])
        assert device.state == {"given": 64}


def test_requests_are_answered_after_a_pause() -> None:
    with rig(Entropy(rate=10_000)) as made:
        (queue,) = made.start()
        for slot in range(4):
            queue.offer(queue.chain([(0x8000 + 256 * slot, 200, WRITE)], slot))
        made.transport.quiesce()
        queue.notify()
        made.transport.resume()
        assert {queue.take() for _ in range(4)} == {(slot, 200) for slot in range(4)}


@pytest.mark.parametrize("buffers", [[(0x8000, 8, 0)], [(0x8000, 8, 0), (0x9000, 8, WRITE)], []])
def test_a_request_with_no_buffer_to_write_or_one_to_read_breaks_the_rules(
    buffers: list[tuple[int, int, int]],
) -> None:
    with rig(Entropy()) as made:
        (queue,) = made.start()
        queue.offer(queue.chain(buffers or [(0x8000, 0, WRITE)]))
        queue.notify()
        until(lambda: made.read(mmio.STATUS) & mmio.DEVICE_NEEDS_RESET)


def test_the_queue_has_its_size() -> None:
    with rig(Entropy()) as made:
        assert made.read(mmio.QUEUE_SIZE_MAX) == QUEUE_SIZE
