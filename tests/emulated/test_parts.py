"""What a run polls for: the lines of the machine, its logs, our signals."""

import os
import select
import signal
import socket
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.emulated.parts import Control, Log, Part, Signals
from ringlet.errors import RingletError
from ringlet.host.console_log import SIZE

pytestmark = pytest.mark.usefixtures("no_leak")


def run(part: Part) -> None:
    """Steps until there is nothing to do without waiting."""
    while True:
        poll = select.poll()
        for fd, events in part.watch():
            poll.register(fd, events)
        if not (ready := dict(poll.poll(0))):
            return
        part.step(ready)


@given(st.binary(max_size=500), st.lists(st.integers(1, 20), max_size=30))
def test_lines_are_the_same_wherever_they_were_cut(data: bytes, cuts: list[int]) -> None:
    lines: list[str] = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        control = Control(ours, lambda word, rest: lines.append(f"{word} {rest}".strip()))
        sent = data
        for cut in cuts:
            theirs.sendall(sent[:cut])
            sent = sent[cut:]
            run(control)
        theirs.sendall(sent)
        theirs.close()
        run(control)
        assert not control.open
    whole = data.split(b"\n")[:-1]
    words = (line.decode("utf-8", "replace").partition(" ") for line in whole)
    assert lines == [f"{word} {rest}".strip() for word, _, rest in words]


def test_line_without_end_is_refused() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"x" * 10_000)
        with pytest.raises(RingletError):
            run(Control(ours, lambda word, rest: None))


def test_orders_are_lines() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        control = Control(ours, lambda word, rest: None)
        control.send("signal 15")
        control.send("winsize 25 80")
        run(control)
        assert theirs.recv(100) == b"signal 15\nwinsize 25 80\n"


def test_log_keeps_the_last_lines_and_no_control_characters() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        log = Log(reader)
        for number in range(100_000):
            os.write(writer, b"\x1b[31mline %d\r\n\r\n" % number)
            log.drain()
        os.write(writer, b"Kernel panic - not syncing: \xff")
        os.close(writer)
        log.drain()
        assert log.watch() == []
        before, last = log.last_lines(2)
        assert before == " [31mline 99999"
        assert last.startswith("Kernel panic")
        assert log.tells_of_panic
        assert len(log.last_lines(1 << 30)) < SIZE
    finally:
        os.close(reader)


def test_signals_come_as_numbers_and_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    ignored = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    came: list[int] = []
    try:
        with closing(Signals((signal.SIGUSR1, signal.SIGUSR2), came.append)) as signals:
            for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR1):
                os.kill(os.getpid(), number)
                run(signals)
        assert came == [signal.SIGUSR1, signal.SIGUSR1]
        assert signal.getsignal(signal.SIGUSR1) is before
    finally:
        signal.signal(signal.SIGUSR2, ignored)
