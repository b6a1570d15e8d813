"""A serial line between a guest's UART and the host, with real descriptors and no machine."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringlet.devices.uart16550 import LSR, LSR_DR, MCR, MCR_OUT1, RBR, THR
from ringlet.errors import RingletError
from ringlet.machine.config import SerialEnd
from ringlet.machine.control import RunControl
from ringlet.machine.serial_line import SerialLine

from ..until import until

pytestmark = pytest.mark.usefixtures("no_leak")


class Line:
    """An interrupt line with nobody to listen."""

    def set(self, level: bool) -> None:
        pass


@pytest.fixture
def control() -> Iterator[RunControl]:
    control = RunControl()
    yield control
    control.close()


def test_what_the_guest_sends_reaches_a_file_and_the_first_is_timed(
    control: RunControl, tmp_path: Path
) -> None:
    with SerialLine(tmp_path / "output", control) as line:
        uart = line.connect(Line())
        assert line.first_output is None
        before = time.monotonic_ns()
        uart.write(THR, 1, ord("a"))
        first = line.first_output
        assert first is not None
        assert before <= first <= time.monotonic_ns()
        uart.write(THR, 1, ord("b"))
        assert line.first_output == first
    assert (tmp_path / "output").read_bytes() == b"ab"


def test_what_listens_in_hears_the_first_byte_too(control: RunControl) -> None:
    heard = bytearray()
    with SerialLine("none", control) as line:
        line.transmit = heard.extend
        uart = line.connect(Line())
        for byte in b"abc":
            uart.write(THR, 1, byte)
    assert heard == b"abc"


def test_a_program_has_its_end_of_a_pipe_and_sees_the_guests_hang_up(control: RunControl) -> None:
    with SerialLine("pipe", control) as line:
        uart = line.connect(Line())
        line.start()
        port = line.port
        assert port is not None
        port.write(b"\x10x")
        received = b""
        while len(received) < 2:
            if uart.read(LSR, 1) & LSR_DR:
                received += bytes([uart.read(RBR, 1)])
        assert received == b"\x10x"
        uart.write(THR, 1, ord("y"))
        line.stop()
        assert (port.read(), port.read()) == (b"y", b"")
        with pytest.raises(BrokenPipeError):
            port.write(b"late")


def test_input_is_encoded_on_its_way_its_end_too(control: RunControl) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"ab")
    os.close(writer)
    with open(os.devnull, "wb") as null:
        end = SerialEnd((reader, null.fileno()), encode=lambda data: data.upper() if data else b".")
        line = SerialLine(end, control)
    with line:
        uart = line.connect(Line())
        line.start()
        received = b""
        while not received.endswith(b"."):
            if uart.read(LSR, 1) & LSR_DR:
                received += bytes([uart.read(RBR, 1)])
    os.close(reader)
    assert received == b"AB."


def test_what_comes_before_the_gate_is_open_waits(control: RunControl) -> None:
    with SerialLine(SerialEnd("pipe", gate=MCR_OUT1), control) as line:
        uart = line.connect(Line())
        line.start()
        assert line.port is not None
        line.port.write(b"a")
        time.sleep(0.05)
        assert not uart.read(LSR, 1) & LSR_DR
        uart.write(MCR, 1, MCR_OUT1)
        until(lambda: uart.read(LSR, 1) & LSR_DR)
        assert uart.read(RBR, 1) == ord("a")


def test_an_end_that_cannot_be_opened_leaves_nothing_open(
    control: RunControl, tmp_path: Path
) -> None:
    with pytest.raises(RingletError, match="can't open the serial line's end"):
        SerialLine(tmp_path, control)
