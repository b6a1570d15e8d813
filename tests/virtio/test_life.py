"""The life of a virtio device, and chains that it keeps until something comes."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event, Thread

import pytest

from ringlet.kvm.memory import GuestMemory, anonymous
from ringlet.virtio import mmio
from ringlet.virtio.device import KEPT, DeviceQueue, Kept, VirtioDevice
from ringlet.virtio.mmio import VirtioMmio
from ringlet.virtio.queue import Chain, DriverError

from ..until import until
from .driver import SECONDS, WRITE, Driver, Queue
from .rig import MEMORY, Rig, rig

pytestmark = pytest.mark.usefixtures("no_leak")


class Line(VirtioDevice):
    """Two directions: what the driver gives to queue 1 comes back by a chain kept of queue 0.

    What `send` is given comes back, too.
    """

    device_id = 42
    queue_sizes = (16, 16)

    def __init__(self) -> None:
        self.life: list[str] = []
        self.kept: list[Chain] = []

    def send(self, data: bytes) -> bool:
        return self.fill(lambda chain: self._write(chain, data))

    def fill(self, write: Callable[[Chain], int]) -> bool:
        """Completes the oldest chain, by `write`."""
        chain = self.kept.pop(0)
        return self.queues[0].complete(chain, lambda: write(chain))

    def _write(self, chain: Chain, data: bytes) -> int:
        chain.writable[0][: len(data)] = data
        return len(data)

    def handle(self, queue: int, chain: Chain) -> int | Kept:
        if queue == 0:
            self.kept.append(chain)
            return KEPT
        self.send(bytes(chain.readable[0]))
        return 0

    def start(self) -> None:
        self.life.append("start")

    def quiesce(self) -> None:
        self.life.append("quiesce")

    def resume(self) -> None:
        self.life.append("resume")

    def stop(self) -> None:
        self.life.append("stop")

    def reset(self) -> None:
        self.life.append("reset")
        self.kept.clear()

    def close(self) -> None:
        self.life.append("close")


def offer(queue: Queue, count: int = 1, first: int = 0) -> None:
    """Gives the device chains of 8 bytes to write to; chain n has its bytes at 0x8000 + 8n."""
    for number in range(first, first + count):
        queue.offer(queue.chain([(0x8000 + 8 * number, 8, WRITE)], number))
    queue.notify()


def keeping(made: Rig, device: Line, count: int = 1) -> Queue:
    """The receiving queue, with chains that the device keeps."""
    queue, _ = made.start()
    offer(queue, count)
    until(lambda: len(device.kept) == count)
    return queue


# Its life.


def test_a_device_lives_through_its_methods_in_order() -> None:
    device = Line()
    assert len(device.queues) == 0
    with rig(device, serving=False) as made:
        assert len(device.queues) == 2
        made.transport.start()
        made.transport.quiesce()
        made.transport.resume()
        made.transport.stop()
        made.transport.stop()
    assert device.life == ["start", "quiesce", "resume", "stop", "close"]


def test_of_pauses_that_nest_the_device_sees_one() -> None:
    device = Line()
    with rig(device) as made:
        for _ in range(3):
            made.transport.quiesce()
        for _ in range(3):
            made.transport.resume()
    assert device.life == ["start", "quiesce", "resume", "stop", "close"]


def test_a_pause_before_the_start_begins_with_it_and_one_after_the_end_never() -> None:
    device = Line()
    with rig(device, serving=False) as made:
        made.transport.quiesce()
        made.transport.start()
        made.transport.resume()
        made.transport.stop()
        made.transport.quiesce()
        made.transport.resume()
    assert device.life == ["start", "quiesce", "resume", "stop", "close"]


def test_one_that_never_started_is_closed_and_not_stopped() -> None:
    device = Line()
    with rig(device, serving=False):
        pass
    assert device.life == ["close"]


def test_one_that_refuses_its_queues_leaves_nothing_open() -> None:
    class Refusing(Line):
        def attach(self, queues: Sequence[DeviceQueue]) -> None:
            raise ZeroDivisionError

    with (
        GuestMemory([anonymous(0, MEMORY)]) as memory,
        pytest.raises(ZeroDivisionError),
    ):
        VirtioMmio(Refusing(), memory, lambda error: None)


# Chains that are kept.


def test_a_kept_chain_is_completed_later_on_another_thread() -> None:
    device = Line()
    with rig(device) as made:
        queue = keeping(made, device, 3)
        assert queue.used_index == 0
        for number in range(3):
            sender = Thread(target=device.send, args=(b"come %d" % number,))
            sender.start()
            assert queue.take() == (number, 6)
            assert made.memory.read(0x8000 + 8 * number, 8) == b"come %d\0\0" % number
            sender.join()


def test_a_kept_chain_is_completed_while_another_is_handled() -> None:
    device = Line()
    with rig(device) as made:
        receiving = keeping(made, device)
        sending = made.queues[1]
        made.memory.write(0x9000, b"echo")
        assert sending.request([(0x9000, 4, 0)]) == 0
        assert receiving.take() == (0, 4)
        assert made.memory.read(0x8000, 4) == b"echo"


def test_what_comes_at_once_from_many_threads_comes_once_each() -> None:
    device = Line()
    with rig(device) as made:
        queue = keeping(made, device, 16)
        senders = [Thread(target=device.send, args=(bytes([n]),)) for n in range(16)]
        for sender in senders:
            sender.start()
        heads = {queue.take()[0] for _ in senders}
        for sender in senders:
            sender.join()
        assert heads == set(range(16))
        assert {made.memory.read(0x8000 + 8 * n, 1)[0] for n in range(16)} == set(range(16))


def test_a_chain_is_given_back_once() -> None:
    device = Line()
    with rig(device) as made:
        queue = keeping(made, device)
        chain = device.kept[0]
        assert device.send(b"a")
        assert not device.queues[0].complete(chain, lambda: pytest.fail("again"))
        assert queue.take() == (0, 1)
        assert queue.used_index == 1


def test_kept_chains_are_a_part_of_the_state() -> None:
    device = Line()
    with rig(device) as made:
        keeping(made, device, 3)
        device.kept.pop(1)
        device.kept.pop(0)
        assert device.send(b"a")
        receiving, sending = made.transport.state["queues"]
        assert receiving["kept"] == [0, 1]
        assert (receiving["next_available"], receiving["next_used"]) == (3, 1)
        assert sending["kept"] == []


# A device that keeps a chain for ever.


def test_a_reset_a_pause_and_the_end_return() -> None:
    device = Line()
    with rig(device) as made:
        for _ in range(3):
            keeping(made, device, 5)
            made.transport.quiesce()
            made.transport.resume()
            made.write(mmio.STATUS, 0)
            assert device.kept == []
        keeping(made, device, 5)
        made.transport.stop()
    assert device.life[-3:] == ["reset", "stop", "close"]


def test_a_chain_is_gone_with_a_reset_and_guest_memory_is_not_touched() -> None:
    device = Line()
    with rig(device) as made:
        keeping(made, device)
        (chain,) = device.kept
        made.write(mmio.STATUS, 0)
        before = made.memory.read(0, MEMORY)
        assert not device.queues[0].complete(chain, lambda: pytest.fail("it is gone"))
        with pytest.raises(ValueError, match="released"):
            chain.writable[0][0] = 1
        assert made.memory.read(0, MEMORY) == before
        queue = keeping(made, device)  # and another driver begins
        assert not device.queues[0].complete(chain, lambda: pytest.fail("it is gone"))
        assert device.send(b"a")
        assert queue.take() == (0, 1)


def test_a_chain_is_gone_with_its_queue_alone() -> None:
    device = Line()
    with rig(device) as made:
        keeping(made, device)
        made.write(mmio.QUEUE_SEL, 1)
        made.write(mmio.QUEUE_READY, 0)
        assert device.queues[0].complete(device.kept[0], lambda: 0)
        offer(made.queues[0], 1, 1)
        until(lambda: len(device.kept) == 2)
        made.write(mmio.QUEUE_SEL, 0)
        made.write(mmio.QUEUE_READY, 0)
        assert not device.queues[0].complete(device.kept[1], lambda: pytest.fail("it is gone"))


def test_memory_can_be_unmapped_though_the_device_holds_the_chain() -> None:
    device = Line()
    with GuestMemory([anonymous(0, MEMORY)]) as memory:
        with VirtioMmio(device, memory, lambda error: None) as transport:
            transport.start()
            queue, _ = Driver(transport, memory).start()
            offer(queue)
            until(lambda: device.kept)
        assert device.kept
        memory.close()


def test_after_the_end_nothing_is_completed() -> None:
    device = Line()
    with rig(device) as made:
        keeping(made, device)
        made.transport.stop()
        assert not device.send(b"a")


# A pause, a reset and the end while something comes.


def test_what_comes_in_a_pause_waits_for_its_end() -> None:
    device = Line()
    with rig(device) as made:
        queue = keeping(made, device)
        made.transport.quiesce()
        sender = Thread(target=device.send, args=(b"a",))
        sender.start()
        sender.join(0.05)
        assert sender.is_alive()
        assert queue.used_index == 0
        made.transport.resume()
        assert queue.take() == (0, 1)
        sender.join()


@pytest.mark.parametrize("end", ["stop", "reset"])
def test_what_comes_in_a_pause_is_let_go_where_the_pause_ends_otherwise(end: str) -> None:
    device = Line()
    sent: list[bool] = []
    with rig(device) as made:
        keeping(made, device)
        made.transport.quiesce()
        sender = Thread(target=lambda: sent.append(device.send(b"a")))
        sender.start()
        sender.join(0.02)
        if end == "stop":
            made.transport.stop()
        else:
            made.write(mmio.STATUS, 0)
        made.transport.resume()
        sender.join(SECONDS)
        assert sent == [False]


@pytest.mark.parametrize("what", ["quiesce", "reset", "stop"])
def test_what_is_being_filled_is_waited_for(what: str) -> None:
    """It writes to the guest's memory, and the driver may use that otherwise after a reset."""
    device = Line()
    begun, goes_on = Event(), Event()

    def slowly(chain: Chain) -> int:
        begun.set()
        assert goes_on.wait(SECONDS)
        chain.writable[0][:4] = b"done"
        return 4

    with rig(device) as made:
        queue = keeping(made, device)
        sender = Thread(target=device.fill, args=(slowly,))
        sender.start()
        assert begun.wait(SECONDS)
        wait = {
            "quiesce": made.transport.quiesce,
            "reset": lambda: made.write(mmio.STATUS, 0),
            "stop": made.transport.stop,
        }[what]
        waiting = Thread(target=wait)
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive()
        goes_on.set()
        waiting.join(SECONDS)
        assert not waiting.is_alive()
        assert queue.used_index == 1
        assert made.memory.read(0x8000, 4) == b"done"
        sender.join()


def test_a_chain_completed_while_another_is_handled_holds_up_no_pause() -> None:
    """On the device's own thread, for which the pause waits."""
    device = Line()
    with rig(device) as made:
        queue = keeping(made, device, 2)
        inside, goes_on = Event(), Event()
        send = device.send

        def late(data: bytes) -> bool:
            inside.set()
            assert goes_on.wait(SECONDS)
            return send(data)

        device.send = late  # type: ignore[method-assign]
        sending = made.queues[1]
        sending.offer(sending.chain([(0x9000, 4, 0)]))
        sending.notify()
        assert inside.wait(SECONDS)
        pausing = Thread(target=made.transport.quiesce)
        pausing.start()
        until(lambda: made.transport._worker._pauses)
        goes_on.set()
        pausing.join(SECONDS)
        assert not pausing.is_alive()
        assert queue.take() == (0, 4)
        made.transport.resume()


# What goes wrong.


def test_a_driver_that_breaks_the_rules_of_a_kept_chain_has_to_reset() -> None:
    device = Line()

    def refuse(chain: Chain) -> int:
        raise DriverError("too small")

    with rig(device) as made:
        queue = keeping(made, device, 2)
        device.fill(refuse)
        assert made.read(mmio.STATUS) & mmio.DEVICE_NEEDS_RESET
        assert not device.send(b"a"), "nothing more is served"
        assert queue.used_index == 0
        queue = keeping(made, device)
        assert device.send(b"a")
        assert queue.take() == (0, 1)


def test_what_filling_a_chain_raises_is_reported() -> None:
    device = Line()

    def fail(chain: Chain) -> int:
        raise ZeroDivisionError

    with rig(device) as made:
        keeping(made, device)
        device.fill(fail)
        (error,) = made.errors
        assert isinstance(error, ZeroDivisionError)
        made.errors.clear()


def test_resets_and_pauses_while_much_comes() -> None:
    device = Line()
    over = Event()

    def keep_sending() -> None:
        while not over.wait(0.0001):
            with suppress(IndexError):  # none is kept just now
                device.send(b"data")

    with rig(device) as made:
        senders = [threading.Thread(target=keep_sending) for _ in range(3)]
        for sender in senders:
            sender.start()
        for _ in range(50):
            queue, _ = made.start()
            offer(queue, 16)
            queue.take()
            made.transport.quiesce()
            used = queue.used_index
            assert made.memory.read(queue.used + 2, 2)[0] == used
            made.transport.resume()
            made.write(mmio.STATUS, 0)
            before = made.memory.read(queue.used, 6 + 8 * queue.size)
            made.memory.write(0x8000, bytes(8 * 16))
            assert made.memory.read(queue.used, 6 + 8 * queue.size) == before
            assert made.memory.read(0x8000, 8 * 16) == bytes(8 * 16)
        over.set()
        for sender in senders:
            sender.join()
