"""The virtio console, driven through its queues, with real pipes on the host's side."""

from __future__ import annotations

import os
import random
import struct
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from ringlet.host.input import InputPump
from ringlet.host.output import PolledOutput
from ringlet.virtio.console import (
    CONSOLE_PORT,
    DEVICE_ADD,
    DEVICE_READY,
    MESSAGE,
    PORT_NAME,
    PORT_OPEN,
    PORT_READY,
    RESIZE,
    VIRTIO_CONSOLE_F_MULTIPORT,
    VIRTIO_CONSOLE_F_SIZE,
    Console,
)
from ringlet.virtio.device import TRANSPORT_FEATURES
from ringlet.virtio.port import Port

from ..until import until
from .driver import WRITE, Queue
from .rig import Rig, rig

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("no_leak")

MULTIPORT = TRANSPORT_FEATURES | VIRTIO_CONSOLE_F_MULTIPORT | VIRTIO_CONSOLE_F_SIZE
DATA, REPLIES = 0x4_0000, 0x3_0000
CONTROL_IN, CONTROL_OUT = 2, 3


@contextmanager
def pipe_ends() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    with open(reader, "rb", 0) as left, open(writer, "wb", 0) as right:
        yield left.fileno(), right.fileno()


def send(queue: Queue, data: bytes, at: int = DATA) -> None:
    """The driver's output, which the device has taken when this returns."""
    queue.memory.write(at, data)
    queue.request([(at, len(data), 0)])


def offer(queue: Queue, size: int, slot: int = 0) -> int:
    """A buffer for input; where it lies."""
    at = DATA + 0x1_0000 + 0x1000 * slot
    queue.offer(queue.chain([(at, size, WRITE)], slot))
    queue.notify()
    return at


def tell(made: Rig, number: int, event: int, value: int = 1) -> None:
    send(made.queues[CONTROL_OUT], MESSAGE.pack(number, event, value), REPLIES)


def heard(made: Rig) -> tuple[int, int, int, bytes]:
    """The next control message to the driver."""
    queue = made.queues[CONTROL_IN]
    queue.offer(queue.chain([(REPLIES + 0x100, 64, WRITE)]))
    queue.notify()
    _, size = queue.take()
    message = made.memory.read(REPLIES + 0x100, size)
    return *MESSAGE.unpack_from(message), message[MESSAGE.size :]


# Ports and messages.


def test_a_driver_hears_of_each_port_its_name_and_that_the_host_is_there() -> None:
    ports = [Port("first", print, console=True), Port("second", print)]
    with rig(Console(ports, rows=30, columns=100)) as made:
        made.start(MULTIPORT)
        assert made.transport.read(0x100, 4) == 100 | 30 << 16
        assert made.transport.read(0x104, 4) == 2
        tell(made, 0, DEVICE_READY)
        assert [heard(made), heard(made)] == [(0, DEVICE_ADD, 1, b""), (1, DEVICE_ADD, 1, b"")]
        tell(made, 0, PORT_READY)
        assert [heard(made) for _ in range(4)] == [
            (0, CONSOLE_PORT, 1, b""),
            (0, RESIZE, 0, struct.pack("<HH", 100, 30)),
            (0, PORT_NAME, 1, b"first\0"),
            (0, PORT_OPEN, 1, b""),
        ]
        tell(made, 1, PORT_READY)
        assert [heard(made), heard(made)] == [
            (1, PORT_NAME, 1, b"second\0"),
            (1, PORT_OPEN, 1, b""),
        ]


def test_a_new_size_reaches_the_terminals_alone() -> None:
    device = Console([Port("data", print), Port("terminal", print, console=True)])
    with rig(device) as made:
        made.start(MULTIPORT)
        device.resize(50, 132)
        assert heard(made) == (1, RESIZE, 0, struct.pack("<HH", 132, 50))
        assert made.transport.read(0x100, 4) == 132 | 50 << 16


def test_a_driver_that_asks_and_never_listens_fills_no_memory() -> None:
    device = Console([Port("one", print)])
    with rig(device) as made:
        made.start(MULTIPORT)
        for _ in range(300):
            tell(made, 0, DEVICE_READY)
            tell(made, 0, PORT_READY)
        assert len(device.state["messages"]) == 3


def test_messages_for_no_port_and_of_no_kind_are_ignored_and_a_short_one_breaks_the_device() -> (
    None
):
    with rig(Console([Port("one", print)])) as made:
        made.start(MULTIPORT)
        tell(made, 7, PORT_READY)
        tell(made, 0, 99)
        queue = made.queues[CONTROL_OUT]
        queue.offer(queue.chain([(REPLIES, 7, 0)]))
        queue.notify()
        until(lambda: made.read(0x70) & 64)


def test_without_multiport_the_first_port_works_with_no_message() -> None:
    got: list[bytes] = []
    port = Port("one", got.append)
    with rig(Console([port])) as made:
        made.start()
        send(made.queues[1], b"hello")
        assert got == [b"hello"]
        at = offer(made.queues[0], 16)
        until(lambda: port.room == 16)
        assert port.receive(b"input") == 5
        assert made.queues[0].take() == (0, 5)
        assert made.memory.read(at, 5) == b"input"


# Output.


def test_output_arrives_whole_and_in_order_however_slow_its_reader_is() -> None:
    data = random.Random(1).randbytes(900_000)
    with pipe_ends() as (reader, writer):
        port = Port("one", output := PolledOutput(writer))
        with rig(Console([port])) as made:
            made.start()
            (_, queue) = made.queues[:2]
            got = bytearray()

            def read() -> None:
                while len(got) < len(data):
                    got.extend(os.read(reader, 5000))

            thread = threading.Thread(target=read)
            thread.start()
            for start in range(0, len(data), 300_000):
                made.memory.write(DATA, data[start : start + 300_000])
                queue.offer(queue.chain([(DATA, 100_000, 0), (DATA + 100_000, 200_000, 0)]))
                queue.notify()
                queue.take()
            thread.join(30)
            assert bytes(got) == data
            assert port.sent == len(data)
        output.close()


def test_a_reset_and_the_end_wait_for_no_reader() -> None:
    with pipe_ends() as (reader, writer):
        port = Port("one", output := PolledOutput(writer))
        with rig(Console([port])) as made:
            for _ in range(2):
                made.start()
                queue = made.queues[1]
                queue.offer(queue.chain([(DATA, 500_000, 0)]))
                queue.notify()
                until(lambda: port.state["unsent"])
                made.write(0x70, 0)
                assert port.state["unsent"] == []
                os.set_blocking(reader, False)
                os.read(reader, 1 << 20)
            made.start()
            queue = made.queues[1]
            queue.offer(queue.chain([(DATA, 500_000, 0)]))
            queue.notify()
            until(lambda: port.state["unsent"])
        output.close()


def test_a_pause_waits_for_no_reader_and_output_goes_on_after_it() -> None:
    with pipe_ends() as (reader, writer):
        port = Port("one", output := PolledOutput(writer))
        with rig(Console([port])) as made:
            made.start()
            queue = made.queues[1]
            made.memory.write(DATA, b"x" * 200_000)
            queue.offer(queue.chain([(DATA, 200_000, 0)]))
            queue.notify()
            until(lambda: port.state["unsent"])
            made.transport.quiesce()
            before = port.sent
            assert len(os.read(reader, 1 << 20)) == before
            assert port.sent == before
            made.transport.resume()
            got = before
            while got < 200_000:
                got += len(os.read(reader, 1 << 20))
            assert queue.take() == (0, 0)
        output.close()


def test_what_the_guest_wrote_just_before_its_end_is_not_lost() -> None:
    got: list[bytes] = []
    with rig(Console([Port("one", got.append)])) as made:
        made.start()
        made.transport.quiesce()  # the device has no time for it before the end
        queue = made.queues[1]
        made.memory.write(DATA, b"last words")
        queue.offer(queue.chain([(DATA, 10, 0)]))
        queue.notify()
        assert got == []
        made.transport.stop()
        assert got == [b"last words"]


def test_a_reader_that_has_gone_is_told_and_the_guest_goes_on() -> None:
    gone = threading.Event()
    with pipe_ends() as (reader, writer):
        port = Port("one", output := PolledOutput(writer), on_closed=gone.set)
        with rig(Console([port])) as made:
            made.start()
            os.dup2(writer, reader)  # the last reader closes
            send(made.queues[1], b"anybody?")
            assert gone.is_set()
        output.close()


# Input.


def test_input_waits_until_a_program_in_the_guest_has_opened_the_port() -> None:
    port = Port("one", print)
    with rig(Console([port])) as made:
        made.start(MULTIPORT)
        at = offer(made.queues[0], 100)
        until(lambda: len(made.transport.state["queues"][0]["kept"]) == 1)
        assert (port.room, port.receive(b"early")) == (0, 0)
        tell(made, 0, PORT_OPEN)
        assert (port.room, port.receive(b"now")) == (100, 3)
        assert made.queues[0].take() == (0, 3)
        assert made.memory.read(at, 3) == b"now"
        offer(made.queues[0], 100)
        tell(made, 0, PORT_OPEN, 0)
        assert port.room == 0


def test_what_is_said_early_arrives_when_the_guest_listens() -> None:
    port = Port("one", print)
    with rig(Console([port])) as made:
        port.say(b"first ")
        port.say(b"second")
        made.start(MULTIPORT)
        tell(made, 0, PORT_OPEN)
        got = b""
        while len(got) < 12:
            at = offer(made.queues[0], 4)
            _, size = made.queues[0].take()
            got += made.memory.read(at, size)
        assert got == b"first second"


def test_a_pipe_is_read_as_fast_as_the_guest_takes_it_and_no_byte_is_lost() -> None:
    data = random.Random(2).randbytes(200_000)
    with pipe_ends() as (reader, writer):

        def pump(port: Port) -> InputPump:
            return InputPump(reader, port, on_quit=lambda: None)

        port = Port("one", print, lambda port: closing(pump(port)))
        with rig(Console([port])) as made:
            made.start()
            thread = threading.Thread(target=os.writev, args=(writer, [data]))
            thread.start()
            got = b""
            while len(got) < len(data):
                at = offer(made.queues[0], 1000)
                _, size = made.queues[0].take()
                got += made.memory.read(at, size)
            thread.join(30)
            assert got == data


def test_a_reset_loses_no_byte_that_the_guest_has_not_got() -> None:
    port = Port("one", print)
    with rig(Console([port])) as made:
        made.start()
        offer(made.queues[0], 10)
        until(lambda: port.room)
        made.write(0x70, 0)
        assert (port.room, port.receive(b"kept")) == (0, 0)
        made.start()
        offer(made.queues[0], 10)
        until(lambda: port.room)
        assert port.receive(b"kept") == 4


def test_a_buffer_for_input_that_cannot_be_written_breaks_the_rules() -> None:
    with rig(Console([Port("one", print)])) as made:
        made.start()
        queue = made.queues[0]
        queue.offer(queue.chain([(DATA, 10, 0)]))
        queue.notify()
        until(lambda: made.read(0x70) & 64)
