"""Bytes through a relay: all of them, in order, and never many at once."""

import os
import select
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.host.polling import wait
from ringlet.host.relay import LIMIT, Relay

pytestmark = pytest.mark.usefixtures("no_leak")


class Pipe:
    def __init__(self, stack: ExitStack) -> None:
        self.reader, self.writer = os.pipe()
        self._open = {self.reader, self.writer}
        stack.callback(lambda: [os.close(fd) for fd in self._open])

    def close(self, fd: int) -> None:
        self._open.remove(fd)
        os.close(fd)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def run(relay: Relay) -> None:
    """Steps until there is nothing to do without waiting."""
    while True:
        if not (ready := wait([relay], 0)):
            return
        relay.step(ready)


@given(st.lists(st.binary(min_size=1, max_size=3000), max_size=20))
def test_what_comes_in_goes_out_as_it_was_and_is_counted(pieces: list[bytes]) -> None:
    with ExitStack() as stack:
        source, sink = Pipe(stack), Pipe(stack)
        relay = stack.enter_context(Relay(source.reader, sink.writer))
        out = b""
        for piece in pieces:
            os.write(source.writer, piece)
            run(relay)
            out += os.read(sink.reader, 1 << 16)
        source.close(source.writer)
        run(relay)
        assert out == b"".join(pieces)
        assert relay.read == relay.written == len(out)
        assert relay.at_end
        assert relay.idle


def test_slow_reader_holds_the_writer_back(stack: ExitStack) -> None:
    ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
    sink = Pipe(stack)
    relay = stack.enter_context(Relay(ours.fileno(), sink.writer))
    theirs.setblocking(False)
    sent = 0
    with suppress(BlockingIOError):
        while sent < 100 * LIMIT:
            sent += theirs.send(bytes(4096))
            run(relay)
    assert sent < 100 * LIMIT
    assert relay.read - relay.written <= LIMIT
    got = 0
    while got < sent:
        got += len(os.read(sink.reader, 1 << 16))
        run(relay)
    assert got == sent == relay.written


def test_paused_it_does_not_read(stack: ExitStack) -> None:
    source, sink = Pipe(stack), Pipe(stack)
    relay = stack.enter_context(Relay(source.reader, sink.writer))
    os.write(source.writer, b"later")
    relay.paused = True
    run(relay)
    assert relay.read == 0
    relay.paused = False
    run(relay)
    assert os.read(sink.reader, 100) == b"later"


def test_what_is_edited_away_does_not_count(stack: ExitStack) -> None:
    source, sink = Pipe(stack), Pipe(stack)
    edit = lambda data: data.replace(b"x", b"")  # noqa: E731
    relay = stack.enter_context(Relay(source.reader, sink.writer, edit))
    os.write(source.writer, b"xaxbx")
    run(relay)
    assert os.read(sink.reader, 100) == b"ab"
    assert relay.read == 2


def test_an_edit_may_say_the_end(stack: ExitStack) -> None:
    source, sink = Pipe(stack), Pipe(stack)
    relay = stack.enter_context(Relay(source.reader, sink.writer, lambda data: data or b"."))
    os.write(source.writer, b"a")
    run(relay)
    source.close(source.writer)
    run(relay)
    assert os.read(sink.reader, 100) == b"a."
    assert relay.at_end


def test_it_holds_no_more_than_its_limit(stack: ExitStack) -> None:
    source, sink = Pipe(stack), Pipe(stack)
    relay = stack.enter_context(Relay(source.reader, sink.writer, limit=10))
    os.write(source.writer, b"x" * 1000)
    relay.step({source.reader: 0} | wait([relay], 0))
    assert relay.read == 10
    run(relay)
    assert os.read(sink.reader, 2000) == b"x" * 1000


def test_drained_all_that_is_there_has_been_moved_to_a_slow_reader(stack: ExitStack) -> None:
    ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
    ours.setblocking(False)
    sink = Pipe(stack)
    relay = stack.enter_context(Relay(ours.fileno(), sink.writer, limit=100))
    sent = 100_000  # more than the pipe holds
    theirs.setblocking(False)
    assert theirs.send(bytes(sent)) == sent
    with ThreadPoolExecutor() as pool:
        draining = pool.submit(relay.drain)
        got = 0
        while got < sent:
            got += len(os.read(sink.reader, 1 << 16))
        draining.result(60)
    assert not relay.at_end


def test_sink_that_has_gone_is_told_and_can_be_dropped(stack: ExitStack) -> None:
    source, sink = Pipe(stack), Pipe(stack)
    relay = stack.enter_context(Relay(source.reader, sink.writer))
    sink.close(sink.reader)
    os.write(source.writer, b"for nobody")
    with pytest.raises(BrokenPipeError):
        run(relay)
    relay.drop()
    assert relay.watch() == []
    assert relay.idle


def test_a_source_that_never_ends_is_not_drained_for_ever(stack: ExitStack) -> None:
    source, sink = os.open("/dev/zero", os.O_RDONLY), os.open("/dev/null", os.O_WRONLY)
    stack.callback(lambda: [os.close(fd) for fd in (source, sink)])
    relay = stack.enter_context(Relay(source, sink))
    relay.drain()
    assert relay.idle
    assert relay.written >= 1 << 20


def test_another_part_ends_a_drain_whose_sink_takes_nothing(stack: ExitStack) -> None:
    source, sink, other = Pipe(stack), Pipe(stack), Pipe(stack)
    relay = stack.enter_context(Relay(source.reader, sink.writer))
    while select.select([], [sink.writer], [], 0)[1]:
        os.write(sink.writer, bytes(4096))
    os.write(source.writer, b"the last")
    os.write(other.writer, b"now")

    class Stop:
        def watch(self) -> list[tuple[int, int]]:
            return [(other.reader, select.POLLIN)]

        def step(self, ready: "dict[int, int]") -> None:
            if other.reader in ready and not relay.idle:
                relay.drop()

    relay.drain(Stop())
    assert relay.idle
