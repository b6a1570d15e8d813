import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.devices.keyboard_controller import KeyboardController

BYTES = st.integers(0, 0xFF)
OUTPUT_FULL = 1


class Bench:
    """A controller, its resets, and a kernel's way to talk to it."""

    def __init__(self) -> None:
        self.resets = 0
        self.controller = KeyboardController(self.reset)

    def reset(self) -> None:
        self.resets += 1

    def command(self, command: int, parameter: int | None = None) -> None:
        assert not self.controller.read(0, 1) & 2, "its input buffer is free"
        self.controller.write(0, 1, command)
        if parameter is not None:
            self.controller.data.write(0, 1, parameter)

    def answer(self) -> int | None:
        """The byte at the data port, None where the status says that there is none."""
        if not self.controller.read(0, 1) & OUTPUT_FULL:
            return None
        return self.controller.data.read(0, 1)


@given(BYTES)
def test_the_reset_pulse_alone_resets(command: int) -> None:
    bench = Bench()
    bench.command(command)
    assert bench.resets == (command == 0xFE)


@given(BYTES)
def test_the_output_port_resets_while_its_bit_0_is_low(value: int) -> None:
    bench = Bench()
    bench.command(0xD1, value)
    assert bench.resets == (not value & 1)
    bench.command(0xD0)
    assert bench.answer() == value


def test_a20_is_on_and_its_classic_way_comes_to_an_end() -> None:
    bench = Bench()
    bench.command(0xAD)
    bench.command(0xD0)
    port = bench.answer()
    assert port == 0b11
    bench.command(0xD1, port | 2)
    bench.command(0xAE)
    assert bench.resets == 0


def test_status_says_no_data_and_ready_for_a_command() -> None:
    bench = Bench()
    assert bench.answer() is None
    assert bench.controller.data.read(0, 1) == 0


@pytest.mark.parametrize(("command", "answer"), [(0xAA, 0x55), (0xAB, 0)])
def test_its_tests_pass(command: int, answer: int) -> None:
    bench = Bench()
    bench.command(command)
    assert bench.answer() == answer
    assert bench.answer() is None, "it is read once"


@given(BYTES)
def test_the_command_byte_reads_back(value: int) -> None:
    bench = Bench()
    bench.command(0x60, value)
    bench.command(0x20)
    assert bench.answer() == value
    assert bool(bench.controller.read(0, 1) & 4) == bool(value & 4), "the system flag"


def test_the_keyboard_is_switched_in_the_command_byte() -> None:
    bench = Bench()
    for command, disabled in ((0xAE, 0), (0xAD, 0x10)):
        bench.command(command)
        bench.command(0x20)
        answer = bench.answer()
        assert answer is not None
        assert answer & 0x10 == disabled


@given(st.lists(st.tuples(st.sampled_from(["command", "data"]), BYTES), max_size=50))
def test_whatever_is_written_no_keyboard_answers(writes: list[tuple[str, int]]) -> None:
    bench = Bench()
    for port, value in writes:
        device = bench.controller if port == "command" else bench.controller.data
        device.write(0, 1, value)
    bench.answer()
    bench.controller.data.write(0, 1, 0xED)
    bench.controller.data.write(0, 1, 0)
    assert bench.answer() is None
