"""Input from real pipes and terminals into a real UART."""

from __future__ import annotations

import array
import fcntl
import os
import signal
import termios
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlet.devices.uart16550 import FCR, FCR_ENABLE, IER, IER_RX, LSR, LSR_DR, RBR, Uart16550
from ringlet.host.input import READ_AHEAD, InputPump
from ringlet.host.terminal import Terminal

from ..examples import examples
from ..until import is_asleep, until

if TYPE_CHECKING:
    Ends = tuple[int, int]

pytestmark = pytest.mark.usefixtures("no_leak")


class Guest:
    """A UART whose interrupt says when there is something to read."""

    def __init__(self) -> None:
        self.data_ready = threading.Event()
        self.uart = Uart16550(self, lambda data: None)
        self.uart.write(FCR, 1, FCR_ENABLE)
        self.uart.write(IER, 1, IER_RX)

    def set(self, level: bool) -> None:
        if level:
            self.data_ready.set()
        else:
            self.data_ready.clear()

    def take(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            assert self.data_ready.wait(60), f"received {bytes(data)!r} and no more"
            while len(data) < count and self.uart.read(LSR, 1) & LSR_DR:
                data.append(self.uart.read(RBR, 1))
        return bytes(data)


@pytest.fixture
def guest() -> Guest:
    return Guest()


def unread(fd: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


def settled(pump: InputPump) -> bool:
    return is_asleep(os.getpid(), pump._thread.native_id)


def no_quit() -> None:
    raise AssertionError("nobody asked to quit")


def test_every_byte_arrives_in_order(guest: Guest, pipe: Ends) -> None:
    pump = InputPump(pipe[0], guest.uart, no_quit)
    data = os.urandom(5000)
    os.write(pipe[1], data)
    assert guest.take(len(data)) == data
    pump.close()


def test_the_host_is_not_read_while_the_fifo_is_full(guest: Guest, pipe: Ends) -> None:
    os.write(pipe[1], bytes(range(100)))
    pump = InputPump(pipe[0], guest.uart, no_quit)
    until(lambda: guest.uart.room == 0)
    until(lambda: settled(pump))
    assert unread(pipe[0]) == 100 - 16
    assert guest.take(1) == b"\0"
    until(lambda: unread(pipe[0]) == 100 - 17)
    assert guest.take(99) == bytes(range(1, 100))
    pump.close()


def test_the_escape_key_means_nothing_in_a_pipe(guest: Guest, pipe: Ends) -> None:
    pump = InputPump(pipe[0], guest.uart, no_quit)
    os.write(pipe[1], b"\x01x")
    assert guest.take(2) == b"\x01x"
    pump.close()


def test_the_end_of_input_leaves_no_thread_at_work(guest: Guest, pipe: Ends) -> None:
    pump = InputPump(pipe[0], guest.uart, no_quit)
    os.write(pipe[1], b"last")
    os.close(pipe[1])
    assert guest.take(4) == b"last"
    pump._thread.join()
    pump.close()
    os.close(pipe[0])


def test_input_that_has_ended_before_the_start_is_none(guest: Guest) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    pump = InputPump(null, guest.uart, no_quit)
    pump._thread.join()
    pump.close()
    os.close(null)
    assert guest.uart.room == 16


def test_an_idle_thread_sleeps(guest: Guest, pipe: Ends) -> None:
    pump = InputPump(pipe[0], guest.uart, no_quit)
    until(lambda: settled(pump))
    pump.close()


def test_signals_are_left_to_the_main_thread(guest: Guest, pipe: Ends) -> None:
    pump = InputPump(pipe[0], guest.uart, no_quit)
    with open(f"/proc/self/task/{pump._thread.native_id}/status") as status:
        (line,) = (line for line in status if line.startswith("SigBlk:"))
    blocked = {n for n in signal.valid_signals() if int(line.split()[1], 16) >> (n - 1) & 1}
    assert {signal.SIGTERM, signal.SIGTSTP, signal.SIGCONT, signal.SIGTTIN} <= blocked
    assert not {signal.SIGSEGV, signal.SIGABRT} & blocked
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
    pump.close()


@pytest.mark.parametrize("waiting", [b"", bytes(100)])
def test_close_ends_the_thread_whatever_it_waits_for(
    guest: Guest, pipe: Ends, waiting: bytes
) -> None:
    os.write(pipe[1], waiting)
    pump = InputPump(pipe[0], guest.uart, no_quit)
    pump.close()
    assert not pump._thread.is_alive()
    guest.uart.on_room()  # a vCPU that is late


def test_the_shared_descriptor_stays_blocking(guest: Guest, pipe: Ends) -> None:
    pump = InputPump(pipe[0], guest.uart, no_quit)
    assert os.get_blocking(pipe[0])
    pump.close()
    assert os.get_blocking(pipe[0])


def test_another_reader_that_is_faster_does_not_block_the_thread(guest: Guest, pipe: Ends) -> None:
    """Both are woken, one gets the data."""
    pump = InputPump(pipe[0], guest.uart, no_quit)
    os.set_blocking(pipe[0], False)
    for _ in range(200):
        os.write(pipe[1], b"x")
        try:
            os.read(pipe[0], 1)
        except BlockingIOError:
            guest.take(1)
    pump.close()


def test_a_terminal_is_read_ahead_and_no_further(guest: Guest) -> None:
    master, slave = os.openpty()
    quits = threading.Event()
    with Terminal(slave) as terminal:
        pump = InputPump(slave, guest.uart, quits.set, terminal)
        os.set_blocking(master, False)
        sent = 0

        def full() -> bool:
            nonlocal sent
            try:
                sent += os.write(master, b"k" * 256)
            except BlockingIOError:
                return settled(pump)
            return False

        until(full)
        assert unread(slave) > 0
        assert len(pump._pending) <= READ_AHEAD
        assert guest.take(sent) == b"k" * sent
        os.write(master, b"\x01x")
        assert quits.wait(60)
        pump.close()
    os.close(slave)
    os.close(master)


@pytest.mark.parametrize("raw_output", [False, True])
def test_the_first_ctrl_c_is_explained_unless_the_guest_draws_on_the_screen(
    guest: Guest, raw_output: bool
) -> None:
    master, slave = os.openpty()
    with Terminal(slave, raw_output=raw_output) as terminal:
        pump = InputPump(slave, guest.uart, no_quit, terminal)
        os.write(master, b"a\x03b\x03")
        assert guest.take(4) == b"a\x03b\x03"
        pump.close()
        os.set_blocking(master, False)
        shown = b""
        with suppress(BlockingIOError):
            shown = os.read(master, 4096)
    os.close(slave)
    os.close(master)
    assert shown.count(b"Ctrl-C goes to the guest") == (0 if raw_output else 1)


def test_ctrl_a_i_asks_what_the_guest_does_and_tells_the_guest_nothing(guest: Guest) -> None:
    master, slave = os.openpty()
    asked: list[Terminal] = []
    with Terminal(slave) as terminal:
        pump = InputPump(slave, guest.uart, no_quit, terminal, inquire=asked.append)
        os.write(master, b"a\x01ib")
        assert guest.take(2) == b"ab"
        pump.close()
    assert asked == [terminal]
    os.close(slave)
    os.close(master)


def test_a_terminal_that_hangs_up_ends_the_input(guest: Guest) -> None:
    master, slave = os.openpty()
    with Terminal(slave) as terminal:
        pump = InputPump(slave, guest.uart, no_quit, terminal)
        os.close(master)
        pump._thread.join()
        pump.close()
    os.close(slave)


@settings(max_examples=examples(30))
@given(writes=st.lists(st.binary(min_size=1, max_size=40), max_size=8))
def test_however_it_is_written_it_arrives(writes: list[bytes]) -> None:
    read_fd, write_fd = os.pipe()
    guest = Guest()
    pump = InputPump(read_fd, guest.uart, no_quit)
    for data in writes:
        os.write(write_fd, data)
    expected = b"".join(writes)
    assert guest.take(len(expected)) == expected
    pump.close()
    os.close(read_fd)
    os.close(write_fd)
