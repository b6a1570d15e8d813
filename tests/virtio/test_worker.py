"""The threads of a virtio device: what they do at once, and that they can be held and ended."""

import random
import struct
import threading
import time
from collections.abc import Callable
from threading import Thread

import pytest

from ringlet.errors import RingletError
from ringlet.virtio import mmio, worker
from ringlet.virtio.device import TRANSPORT_FEATURES, VIRTIO_F_EVENT_IDX, VirtioDevice
from ringlet.virtio.queue import Chain

from ..until import until
from .driver import Queue
from .rig import Rig, Scripted, answer, ask, rig

MAX = worker.MAX_THREADS

pytestmark = pytest.mark.usefixtures("no_leak")


def threads() -> int:
    """How many of a `Scripted` device there are."""
    return sum(thread.name == "ringlet-virtio-42" for thread in threading.enumerate())


def quick(queue: Queue, byte: int, slot: int = 30) -> None:
    """A request that is done at once, from here to its end."""
    ask(queue, "q", byte, slot)
    assert queue.take() == (2 * slot, 1)
    assert answer(queue, slot) == byte


# Requests under way together.


def test_quick_requests_go_on_while_slow_ones_wait() -> None:
    device = Scripted()
    with rig(device) as made:
        queue, _ = made.start(size=64)
        slow = range(MAX - 1)
        for slot in slow:
            ask(queue, "s", slot, slot)
        until(lambda: len(device.begun) == len(slow))
        for byte in range(100):
            quick(queue, byte)
        device.let(*slow)
        assert sorted(queue.take()[0] for _ in slow) == [2 * slot for slot in slow]
        assert [answer(queue, slot) for slot in slow] == [*slow]


def test_a_request_that_is_done_earlier_is_used_earlier() -> None:
    device = Scripted()
    with rig(device) as made:
        queue, _ = made.start(size=64)
        for slot in range(4):
            ask(queue, "s", slot, slot)
        until(lambda: len(device.begun) == 4)
        for slot in (2, 0, 3, 1):
            device.let(slot)
            assert queue.take() == (2 * slot, 1)


def test_no_more_requests_wait_together_than_there_may_be_threads() -> None:
    device = Scripted()
    with rig(device) as made:
        queue, _ = made.start(size=64)
        for slot in range(MAX + 4):
            ask(queue, "s", slot, slot)
        until(lambda: len(device.begun) == MAX)
        assert threads() == MAX
        for slot in range(MAX + 4):
            device.let(slot)
            assert queue.take() == (2 * slot, 1)
        assert threads() == MAX


def test_threads_are_taken_again() -> None:
    device = Scripted()
    with rig(device) as made:
        queue, _ = made.start(size=64)
        device.let(*range(8))
        for _ in range(50):
            for slot in range(8):
                ask(queue, "s", slot, slot, notify=False)
            queue.notify()
            assert sorted(queue.take()[0] for _ in range(8)) == [2 * slot for slot in range(8)]
        assert threads() <= 9


def test_a_thread_that_was_used_before_leads_while_another_waits() -> None:
    device = Scripted()
    with rig(device) as made:
        queue, _ = made.start(size=64)
        for slot in range(3):
            ask(queue, "s", slot, slot)
        until(lambda: len(device.begun) == 3)
        device.let(0, 1, 2)
        for _ in range(3):
            queue.take()
        ask(queue, "s", 3, 3)
        until(lambda: len(device.begun) == 4)
        quick(queue, 9)
        device.let(3)
        queue.take()


def test_what_was_done_is_seen_while_the_next_request_waits() -> None:
    device = Scripted()
    with rig(device) as made:
        queue, _ = made.start(size=64)
        ask(queue, "q", 0, 0, notify=False)
        ask(queue, "s", 1, 1)
        assert queue.take() == (0, 1)
        device.let(1)
        assert queue.take() == (2, 1)


def test_a_request_that_comes_while_the_device_asks_for_a_notification_needs_none() -> None:
    with rig(Scripted()) as made:
        queue, _ = made.start(size=64)
        device_end = made.transport._queues[0]
        arm, late = device_end.arm, [2, 1]

        def arm_late() -> bool:
            if late:
                ask(queue, "q", 5, late.pop(), notify=False)
            return arm()

        made.transport.quiesce()
        device_end.arm = arm_late  # type: ignore[method-assign]
        made.transport.resume()
        assert queue.take() == (2, 1)
        assert queue.take() == (4, 1)


def test_where_there_can_be_no_thread_more_requests_wait_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Scripted()
    with rig(device) as made:

        def refuse(thread: Thread) -> None:
            raise RingletError("no more threads", "ulimit -u")

        monkeypatch.setattr(worker, "start_without_signals", refuse)
        queue, _ = made.start(size=64)
        for slot in range(3):
            ask(queue, "s", slot, slot)
        for slot in range(3):
            until(lambda: len(device.begun) == slot + 1)  # noqa: B023
            device.let(slot)
            assert queue.take() == (2 * slot, 1)
        assert threads() == 1


@pytest.mark.parametrize("features", [TRANSPORT_FEATURES, TRANSPORT_FEATURES & ~VIRTIO_F_EVENT_IDX])
def test_each_of_many_requests_is_used_once(features: int) -> None:
    device = Scripted()
    device.let(*range(256))
    choose = random.Random(features)
    with rig(device) as made:
        queue, _ = made.start(features, size=64)
        free, under_way = list(range(32)), set[int]()
        for number in range(5000):
            if free and (not under_way or choose.random() < 0.6):
                slot = free.pop(choose.randrange(len(free)))
                ask(queue, choose.choice("qqs"), number % 256, slot, notify=choose.random() < 0.8)
                under_way.add(slot)
            else:
                queue.notify()
                slot = queue.take()[0] // 2
                under_way.remove(slot)
                free.append(slot)
        queue.notify()
        while under_way:
            under_way.remove(queue.take()[0] // 2)
        assert queue.used_index == queue.next_used


# Several queues.


def test_slow_requests_of_a_queue_do_not_starve_another() -> None:
    device = Scripted()
    with rig(device) as made:
        first, second = made.start(size=64)
        for slot in range(MAX + 8):
            ask(first, "s", slot, slot, notify=False)
        ask(second, "q", 7, notify=False)
        second.notify()
        assert second.take() == (0, 1)
        device.let(*range(MAX + 8))
        for _ in range(MAX + 8):
            first.take()


class Refilled(VirtioDevice):
    """Its first queue is filled by the driver as fast as it is emptied."""

    device_id = 42
    queue_sizes = (16, 16)
    first: Queue
    handled = 0
    when_second = 0

    def handle(self, queue: int, chain: Chain) -> int:
        if queue:
            self.when_second = self.handled
        else:
            self.handled += 1
            if not self.when_second and self.handled < 1000:
                self.first.offer(0)
        return 0


def test_a_queue_that_is_never_empty_does_not_starve_another() -> None:
    device = Refilled()
    with rig(device) as made:
        device.first, second = made.start()
        device.first.chain([(0x8000, 1, 0)])
        second.offer(second.chain([(0x8000, 1, 0)]))
        device.first.offer(0)
        device.first.notify()
        second.take()
        assert device.when_second <= 16


# Pauses.


def test_a_pause_waits_for_the_requests_under_way() -> None:
    device = Scripted()
    with rig(device) as made:
        queue, _ = made.start(size=64)
        events = device.done
        for slot in range(3):
            ask(queue, "s", slot, slot)
        until(lambda: len(device.begun) == 3)
        pausing = Thread(target=lambda: (made.transport.quiesce(), events.append(99)))
        pausing.start()
        for slot in range(3):
            time.sleep(0.01)
            device.let(slot)
        pausing.join()
        assert sorted(events[:3]) == [0, 1, 2]
        assert events[3] == 99
        assert queue.used_index == 3
        made.transport.resume()


def test_nothing_begins_in_a_pause_and_all_of_it_after_the_last() -> None:
    device = Scripted()
    with rig(device) as made:
        queue, _ = made.start(size=64)
        made.transport.quiesce()
        made.transport.quiesce()
        for slot in range(3):
            ask(queue, "q", slot, slot)
        made.transport.resume()
        time.sleep(0.02)
        assert queue.used_index == 0
        made.transport.resume()
        assert [queue.take() for _ in range(3)] == [(0, 1), (2, 1), (4, 1)]


def test_a_notification_in_a_pause_is_not_lost() -> None:
    with rig(Scripted()) as made:
        queue, _ = made.start(size=64)
        for byte in range(200):
            made.transport.quiesce()
            ask(queue, "q", byte)
            made.transport.resume()
            queue.take()
            assert answer(queue) == byte


def test_pauses_of_several_threads_hold_until_each_has_resumed() -> None:
    device = Scripted()
    device.let(*range(256))
    with rig(device) as made:
        queue, _ = made.start(size=64)
        seen: list[int] = []

        def hold() -> None:
            for _ in range(100):
                made.transport.quiesce()
                before = queue.used_index
                time.sleep(0)
                if device.active or queue.used_index != before:
                    seen.append(device.active)
                made.transport.resume()

        holders = [Thread(target=hold) for _ in range(3)]
        for holder in holders:
            holder.start()
        while any(holder.is_alive() for holder in holders):
            for slot in range(6):
                ask(queue, "qs"[slot % 2], slot, slot)
            for _ in range(6):
                queue.take()
        for holder in holders:
            holder.join()
        assert seen == []


def test_a_pause_before_the_start_holds() -> None:
    with rig(Scripted(), serving=False) as made:
        made.transport.quiesce()
        made.transport.start()
        queue, _ = made.start(size=64)
        ask(queue, "q", 5)
        time.sleep(0.02)
        assert queue.used_index == 0
        made.transport.resume()
        queue.take()


# The end.


def test_a_stop_waits_for_the_requests_under_way_and_ends_the_threads() -> None:
    device = Scripted()
    with rig(device) as made:
        queue, _ = made.start(size=64)
        for slot in range(4):
            ask(queue, "s", slot, slot)
        until(lambda: len(device.begun) == 4)
        stopping = Thread(target=made.transport.stop)
        stopping.start()
        time.sleep(0.01)
        device.let(*range(4))
        stopping.join()
        assert threads() == 0
        assert queue.used_index == 4
        ask(queue, "q", 0, 5)
        made.transport.stop()  # again
        assert queue.used_index == 4


def test_a_stop_leaves_what_has_not_begun() -> None:
    device = Scripted()
    with rig(device) as made:
        queue, _ = made.start(size=64)
        for slot in range(MAX + 4):
            ask(queue, "s", slot, slot)
        until(lambda: len(device.begun) == MAX)
        stopping = Thread(target=made.transport.stop)
        stopping.start()
        until(lambda: made.transport._worker._pauses)
        device.let(*range(MAX + 4))
        stopping.join()
        assert queue.used_index == len(device.done) == MAX


def test_a_stop_ends_a_worker_that_is_paused_or_was_never_started() -> None:
    with rig(Scripted()) as made:
        made.transport.quiesce()
        made.transport.stop()
        assert threads() == 0
    with rig(Scripted(), serving=False) as made:
        made.transport.stop()


def test_the_driver_can_go_on_writing_registers_after_the_stop() -> None:
    with rig(Scripted()) as made:
        made.start()
        made.transport.stop()
        made.start()
        made.write(mmio.QUEUE_NOTIFY, 0)
        made.write(mmio.STATUS, 0)


# What goes wrong.


def broken(made: Rig, queue: Queue) -> None:
    """The driver learns that it broke the rules, and nothing is done until the reset."""
    until(lambda: made.read(mmio.STATUS) & mmio.DEVICE_NEEDS_RESET)
    until(lambda: made.read(mmio.INTERRUPT_STATUS) & mmio.CONFIG_CHANGE)
    until(lambda: not made.transport._worker.serving)
    used = queue.used_index
    ask(queue, "q", 1, 20)
    made.transport.quiesce()
    made.transport.resume()
    time.sleep(0.01)
    assert queue.used_index == used


@pytest.mark.parametrize("command", ["d", "D"], ids=["at once", "later"])
def test_a_driver_that_breaks_the_rules_gets_nothing_more_until_it_resets(command: str) -> None:
    device = Scripted()
    with rig(device) as made:
        for _ in range(3):
            queue, _ = made.start(size=64)
            quick(queue, 3)
            ask(queue, command)
            broken(made, queue)
        queue, _ = made.start(size=64)
        assert made.read(mmio.STATUS) == 15
        quick(queue, 4)


def test_a_chain_that_cannot_be_is_such_a_case() -> None:
    with rig(Scripted()) as made:
        queue, _ = made.start(size=64)
        queue.offer(queue.chain([(1 << 40, 1, 0)]))
        queue.notify()
        broken(made, queue)


def test_requests_under_way_end_though_another_broke_the_rules() -> None:
    device = Scripted()
    with rig(device) as made:
        queue, _ = made.start(size=64)
        for slot in range(3):
            ask(queue, "s", slot, slot)
        until(lambda: len(device.begun) == 3)
        ask(queue, "D", 0, 5)
        until(lambda: made.read(mmio.STATUS) & mmio.DEVICE_NEEDS_RESET)
        device.let(0, 1, 2)
        until(lambda: queue.used_index == 3)
        broken(made, queue)
        queue, _ = made.start(size=64)
        quick(queue, 1)


@pytest.mark.parametrize("command", ["x", "X"], ids=["at once", "later"])
def test_what_a_device_raises_is_reported_once_and_nothing_is_served_then(command: str) -> None:
    with rig(Scripted()) as made:
        queue, _ = made.start(size=64)
        ask(queue, command)
        until(lambda: made.errors)
        ask(queue, "q", 1, 1)
        made.transport.quiesce()
        made.transport.resume()
        time.sleep(0.01)
        assert queue.used_index == 0
        assert not made.read(mmio.STATUS) & mmio.DEVICE_NEEDS_RESET
        made.transport.close()
        made.memory.close()  # though the exception is there, with its traceback
        (error,) = made.errors  # its notes say where
        assert isinstance(error, ZeroDivisionError)
        assert "in handle" in error.__notes__[0] or "in _later" in error.__notes__[0]
        made.errors.clear()


class Liar(VirtioDevice):
    device_id = 42

    def __init__(self, result: object) -> None:
        self.result = result

    def handle(self, queue: int, chain: Chain) -> int | Callable[[], int]:
        return self.result  # type: ignore[return-value]


@pytest.mark.parametrize("result", [-1, 1 << 32, None, "1", lambda: -1, lambda: None])
def test_a_number_that_no_device_can_mean_is_an_error_of_the_device(result: object) -> None:
    with rig(Liar(result)) as made:
        (queue,) = made.start()
        queue.offer(queue.chain([(0x8000, 1, 0)]))
        queue.notify()
        until(lambda: made.errors)
        made.transport.stop()
        assert queue.used_index == 0
        made.errors.clear()


def test_one_thread_waits_for_the_driver_and_sleeps() -> None:
    with rig(Scripted()) as made:
        made.start()
        (path,) = [
            f"/proc/self/task/{thread.native_id}/stat"
            for thread in threading.enumerate()
            if thread.name == "ringlet-virtio-42"
        ]

        def asleep() -> bool:
            with open(path) as file:
                return file.read().rpartition(")")[2].split()[0] == "S"

        until(asleep)


def test_a_driver_that_notifies_of_nothing_is_answered_with_nothing() -> None:
    with rig(Scripted()) as made:
        queue, _ = made.start(size=64)
        for number in [0, 1, 2, 0xFFFF, 0xFFFF_FFFF] * 20:
            made.write(mmio.QUEUE_NOTIFY, number)
        quick(queue, 9)
        assert queue.used_index == 1
        assert made.memory.read(queue.used, 2) == struct.pack("<H", 0)
