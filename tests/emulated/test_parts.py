"""What a run polls for: the lines of the machine, and its logs."""

import os
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.emulated.parts import Control, LogTail
from ringlet.errors import RingletError
from ringlet.host.console_log import SIZE
from ringlet.host.polling import wait

if TYPE_CHECKING:
    from ringlet.host.polling import Part

pytestmark = pytest.mark.usefixtures("no_leak")


def run(part: "Part") -> None:
    """Steps until there is nothing to do without waiting."""
    while True:
        if not (ready := wait([part], 0)):
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
        log = LogTail(reader)
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
