"""Output to real pipes, files, terminals and sockets, slow and closed ones."""

from __future__ import annotations

import fcntl
import os
import socket
import termios
import threading
import tty
from typing import TYPE_CHECKING

import pytest

from ringlet.errors import RingletError
from ringlet.host.output import FdOutput, OutputClosedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Ends = tuple[int, int]

pytestmark = pytest.mark.usefixtures("no_leak")


@pytest.fixture
def terminal() -> Iterator[Ends]:
    master, slave = os.openpty()
    tty.setraw(slave)
    yield master, slave
    os.close(slave)
    os.close(master)


@pytest.fixture
def sockets() -> Iterator[Ends]:
    ends = socket.socketpair()
    yield ends[0].fileno(), ends[1].fileno()
    for end in ends:
        end.close()


@pytest.fixture(params=["pipe", "terminal", "sockets"])
def ends(request: pytest.FixtureRequest) -> Ends:
    """A bounded connection: where to read, where to write."""
    connection: Ends = request.getfixturevalue(request.param)
    return connection


def writing(output: FdOutput, data: bytes, size: int) -> threading.Thread:
    def run() -> None:
        for start in range(0, len(data), size):
            output.write(data[start : start + size])

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("size", [1, 5000, 300_000])
def test_a_slow_reader_loses_nothing(ends: Ends, stop_fd: int, size: int) -> None:
    data = os.urandom(30_000 if size == 1 else 300_000)
    output = FdOutput(ends[1], stop_fd)
    thread = writing(output, data, size)
    got = b""
    while len(got) < len(data):
        got += os.read(ends[0], 1000)
    thread.join()
    output.close()
    assert got == data


@pytest.mark.parametrize("size", [1, 300_000])
def test_the_end_of_the_run_frees_a_writer_that_waits(ends: Ends, stop_fd: int, size: int) -> None:
    output = FdOutput(ends[1], stop_fd)
    thread = writing(output, bytes(1_000_000 if size > 1 else 70_000), size)
    os.read(ends[0], 1)  # it has begun
    os.eventfd_write(stop_fd, 1)
    thread.join()
    output.close()


def test_at_the_end_of_the_run_what_needs_no_waiting_is_still_written(
    ends: Ends, stop_fd: int
) -> None:
    os.eventfd_write(stop_fd, 1)
    output = FdOutput(ends[1], stop_fd)
    output.write(b"last words")
    output.close()
    assert os.read(ends[0], 100) == b"last words"


def test_the_shared_descriptor_stays_blocking(ends: Ends, stop_fd: int) -> None:
    output = FdOutput(ends[1], stop_fd)
    output.write(b"x")
    assert os.get_blocking(ends[1])
    output.close()
    assert os.get_blocking(ends[1])


def test_a_pipe_with_no_reader_is_closed(pipe: Ends, stop_fd: int) -> None:
    output = FdOutput(pipe[1], stop_fd)
    os.close(pipe[0])
    with pytest.raises(OutputClosedError) as caught:
        output.write(b"x")
    assert caught.value.hint
    output.close()
    os.close(pipe[1])


def test_a_pipe_that_had_no_reader_from_the_start_is_closed(pipe: Ends, stop_fd: int) -> None:
    os.close(pipe[0])
    output = FdOutput(pipe[1], stop_fd)
    with pytest.raises(OutputClosedError):
        output.write(b"x")
    output.close()
    os.close(pipe[1])


def test_a_reader_that_goes_while_the_writer_waits_is_noticed(pipe: Ends, stop_fd: int) -> None:
    output = FdOutput(pipe[1], stop_fd)
    size = fcntl.fcntl(pipe[1], fcntl.F_GETPIPE_SZ)
    output.write(bytes(size))
    threading.Timer(0.05, os.close, [pipe[0]]).start()
    with pytest.raises(OutputClosedError):
        output.write(b"x")
    output.close()
    os.close(pipe[1])


def test_a_terminal_that_hung_up_is_closed(stop_fd: int) -> None:
    master, slave = os.openpty()
    output = FdOutput(slave, stop_fd)
    os.close(master)
    with pytest.raises(OutputClosedError):
        output.write(b"x")
    output.close()
    os.close(slave)


def test_a_full_disk_is_an_error_with_a_hint(stop_fd: int) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    output = FdOutput(full, stop_fd)
    with pytest.raises(RingletError, match="No space left") as caught:
        output.write(b"x")
    assert not isinstance(caught.value, OutputClosedError)
    assert caught.value.hint
    output.close()
    os.close(full)


def test_a_file_is_written_where_its_other_writers_left_off(tmp_path: Path, stop_fd: int) -> None:
    """As in `(echo a; ringlet boot hello; echo b) > FILE`: one offset for all."""
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(file, b"before ")
    output = FdOutput(file, stop_fd)
    output.write(b"guest ")
    output.close()
    os.write(file, b"after")
    os.close(file)
    assert (tmp_path / "file").read_bytes() == b"before guest after"


def test_a_terminal_that_is_stopped_holds_the_writer(terminal: Ends, stop_fd: int) -> None:
    output = FdOutput(terminal[1], stop_fd)
    termios.tcflow(terminal[1], termios.TCOOFF)
    thread = writing(output, b"held", 4)
    termios.tcflow(terminal[1], termios.TCOON)
    assert os.read(terminal[0], 4) == b"held"
    thread.join()
    output.close()
