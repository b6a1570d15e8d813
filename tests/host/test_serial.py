"""What the serial line can end at."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ringlet.devices.uart16550 import IER, IER_RX, RBR, THR, Uart16550
from ringlet.errors import RingletError
from ringlet.host.serial import SerialHost, SerialTarget, open_serial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Open = Callable[..., tuple[SerialHost, "Guest"]]

pytestmark = pytest.mark.usefixtures("no_leak")


class Guest:
    """The guest's end: a UART and its interrupt."""

    def __init__(self, serial: SerialHost) -> None:
        self.ready = threading.Event()
        self.uart = Uart16550(self, serial.transmit)
        self.uart.write(IER, 1, IER_RX)

    def set(self, level: bool) -> None:
        if level:
            self.ready.set()
        else:
            self.ready.clear()

    def print(self, text: bytes) -> None:
        for byte in text:
            self.uart.write(THR, 1, byte)

    def read(self, count: int) -> bytes:
        data = bytearray()
        for _ in range(count):
            assert self.ready.wait(60), f"received {bytes(data)!r} and no more"
            data.append(self.uart.read(RBR, 1))
        return bytes(data)


@pytest.fixture
def opened(stop_fd: int, no_leak: None) -> Iterator[Open]:
    """Opens a target, and starts; closed at the end of the test."""
    with contextlib.ExitStack() as stack:

        def make(target: SerialTarget, **options: Any) -> tuple[SerialHost, Guest]:
            serial = stack.enter_context(
                open_serial(target, stop_fd=stop_fd, on_quit=lambda: None, **options)
            )
            guest = Guest(serial)
            serial.start(guest.uart)
            return serial, guest

        yield make


def test_none_drops_output(opened: Open) -> None:
    serial, guest = opened("none")
    guest.print(b"hello")
    assert serial.path is None


def test_an_object_is_written_to(opened: Open) -> None:
    target = io.BytesIO()
    _, guest = opened(target)
    guest.print(b"hello")
    assert target.getvalue() == b"hello"


def test_a_pair_of_descriptors_is_read_and_written_and_stays_open(opened: Open) -> None:
    (to_guest_read, to_guest), (from_guest, from_guest_write) = os.pipe(), os.pipe()
    serial, guest = opened((to_guest_read, from_guest_write))
    os.write(to_guest, b"hello?")
    assert guest.read(6) == b"hello?"
    guest.print(b"hello!")
    assert os.read(from_guest, 100) == b"hello!"
    serial.close()
    os.close(from_guest_write)
    assert os.read(from_guest, 1) == b""
    for fd in (to_guest_read, to_guest, from_guest):
        os.close(fd)


def test_a_file_is_created_or_emptied(opened: Open, tmp_path: Path) -> None:
    for text in (b"a long first text", b"short"):
        _, guest = opened(tmp_path / "log")
        guest.print(text)
        assert (tmp_path / "log").read_bytes() == text


@pytest.mark.parametrize("name", ["", "missing/log", "fifo", "nul\0"])
def test_a_path_that_cannot_be_written_is_refused(stop_fd: int, tmp_path: Path, name: str) -> None:
    """A directory, a path in none, a FIFO that nobody reads."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(RingletError, match=r"can't open") as caught:
        open_serial(f"{tmp_path}/{name}", stop_fd=stop_fd, on_quit=lambda: None)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_a_closed_descriptor_is_refused(stop_fd: int) -> None:
    with pytest.raises(RingletError, match="Bad file descriptor"):
        open_serial((99_999, 99_999), stop_fd=stop_fd, on_quit=lambda: None)


def test_a_pty_joins_another_program_and_the_guest(opened: Open) -> None:
    serial, guest = opened("pty")
    assert serial.path is not None
    guest.print(b"early\n")
    for expected in (b"early\nlate\r\n", b"late\r\n"):  # it may come and go
        other = os.open(serial.path, os.O_RDWR | os.O_NOCTTY)
        guest.print(b"late\r\n")
        got = b""
        while len(got) < len(expected):
            got += os.read(other, 100)
        assert got == expected
        os.write(other, b"\x01x\r\n\x03")
        assert guest.read(5) == b"\x01x\r\n\x03"
        os.close(other)


def test_a_pty_that_nobody_reads_can_be_left(stop_fd: int) -> None:
    with open_serial("pty", stop_fd=stop_fd, on_quit=lambda: None) as serial:
        guest = Guest(serial)
        vcpu = threading.Thread(target=guest.print, args=[bytes(100_000)])
        vcpu.start()
        os.eventfd_write(stop_fd, 1)
        vcpu.join()


def test_a_reader_of_a_pty_gets_the_end_of_the_output(stop_fd: int) -> None:
    serial = open_serial("pty", stop_fd=stop_fd, on_quit=lambda: None)
    assert serial.path is not None
    text = bytes(range(32, 127)) * 40
    with subprocess.Popen(
        [sys.executable, "-c", READER, serial.path], stdout=subprocess.PIPE
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"ready\n"
        serial.transmit(text)
        serial.close()
        assert reader.stdout.read() == text


READER = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
os.write(1, b"ready\\n")
try:
    while data := os.read(fd, 100):
        os.write(1, data)
except OSError:
    pass
"""

STDIO = """
import os, sys, threading
from ringlet.host.serial import open_serial

class Guest:
    room = 16

    def receive(self, data):
        serial.transmit(data)
        return len(data)

stop = os.eventfd(0)
with open_serial("stdio", stop_fd=stop, on_quit=None, output_fd=int(sys.argv[1])) as serial:
    serial.transmit(b"started ")
    serial.start(Guest())
    for thread in threading.enumerate()[1:]:
        thread.join()  # the end of input
for slow in "termios", "tty":
    assert slow not in sys.modules, slow
"""


def stdio(output_fd: int, **options: Any) -> tuple[bytes, bytes]:
    child = subprocess.run(
        [sys.executable, "-c", STDIO, str(output_fd)], capture_output=True, check=True, **options
    )
    return child.stdout, child.stderr


def test_stdio_is_standard_input_and_output() -> None:
    output, errors = stdio(1, input=b"echo " * 100)
    assert output == b"started " + b"echo " * 100
    assert errors == b""


def test_stdio_can_leave_standard_output_to_others() -> None:
    output, errors = stdio(2, input=b"")
    assert (output, errors) == (b"", b"started ")


def test_stdio_reads_a_file_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"echo " * 1000)
    with open(tmp_path / "input", "rb") as file:
        output, _ = stdio(1, stdin=file)
    assert output == b"started " + b"echo " * 1000


def test_stdio_with_standard_input_closed_only_writes() -> None:
    output, _ = stdio(1, preexec_fn=lambda: os.close(0))
    assert output == b"started "
