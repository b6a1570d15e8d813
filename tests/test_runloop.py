"""The run loop: strings, kicks, signals, and the interval at which threads take turns."""

import signal
import sys
import time
from types import FrameType

import pytest

from ringlet.runloop import SWITCH_INTERVAL, short_switch_interval

from .machine_code import (
    EXIT,
    HALT_WITH_INTERRUPTS,
    IN_AL_DX,
    MOV_DX_PORT,
    PORT,
    READ_AND_EXIT,
    SPIN,
    exit_with,
    machine,
)

BUFFER = 0x600
COUNT = 5
MOV_DI_BUFFER = b"\xbf" + BUFFER.to_bytes(2, "little")
MOV_SI_BUFFER = b"\xbe" + BUFFER.to_bytes(2, "little")
MOV_CX_COUNT = b"\xb9" + COUNT.to_bytes(2, "little")
INS = {1: b"\xf3\x6c", 2: b"\xf3\x6d", 4: b"\x66\xf3\x6d"}  # rep insb, insw, insd
OUTS = {1: b"\xf3\x6e", 2: b"\xf3\x6f", 4: b"\x66\xf3\x6f"}

needs_kvm = pytest.mark.needs_kvm


class Counter:
    """Each read gives the next number; writes are kept."""

    def __init__(self) -> None:
        self.reads = 0
        self.written: list[tuple[int, int]] = []

    def read(self, offset: int, size: int) -> int:
        self.reads += 1
        return self.reads

    def write(self, offset: int, size: int, value: int) -> None:
        self.written.append((size, value))


@pytest.fixture
def counter() -> Counter:
    return Counter()


@needs_kvm
@pytest.mark.parametrize("size", INS)
def test_a_string_read_asks_the_device_once_for_each_item(counter: Counter, size: int) -> None:
    code = MOV_DX_PORT + MOV_DI_BUFFER + MOV_CX_COUNT + INS[size] + exit_with(0)
    with machine(code) as made:
        made.add_port_device(PORT, 4, counter)
        made.run()
        data = made.memory.read(BUFFER, size * COUNT + 1)
    items = [number.to_bytes(size, "little") for number in range(1, COUNT + 1)]
    assert data == b"".join(items) + b"\0"


@needs_kvm
@pytest.mark.parametrize("size", OUTS)
def test_a_string_write_hands_the_device_each_item(counter: Counter, size: int) -> None:
    code = MOV_DX_PORT + MOV_SI_BUFFER + MOV_CX_COUNT + OUTS[size] + exit_with(0)
    data = bytes(range(1, size * COUNT + 1))
    with machine(code) as made:
        made.memory.write(BUFFER, data)
        made.add_port_device(PORT, 4, counter)
        made.run()
    items = [data[start : start + size] for start in range(0, len(data), size)]
    assert counter.written == [(size, int.from_bytes(item, "little")) for item in items]


@needs_kvm
def test_a_string_read_where_no_device_is_gives_all_ones() -> None:
    code = MOV_DX_PORT + MOV_DI_BUFFER + MOV_CX_COUNT + INS[2] + exit_with(0)
    with machine(code) as made:
        result = made.run()
        assert made.memory.read(BUFFER, 2 * COUNT) == b"\xff" * 2 * COUNT
    assert result.unclaimed["reads"] == COUNT


@needs_kvm
def test_kicks_at_any_moment_lose_no_access_and_end_no_run(counter: Counter) -> None:
    # mov cx, 3000; in al, dx; add bx, ax with ah 0; loop; the sum's low byte is the status
    loop = b"\xb4\x00\xb9\xb8\x0b" + IN_AL_DX + b"\x01\xc3\xe2\xfb" + b"\x88\xd8" + EXIT
    with machine(MOV_DX_PORT + loop) as made:
        made.add_port_device(PORT, 1, counter)
        made.start()
        while made.control.end is None:
            made.vm.vcpus[0].kick()
        result = made.wait(30)
    assert result is not None
    assert counter.reads == 3000
    assert result.status == sum(number & 0xFF for number in range(1, 3001)) & 0xFF
    assert result.exits["interrupted"] > 0


@needs_kvm
def test_a_programs_own_signals_are_handled_and_end_no_run() -> None:
    numbers: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        numbers.append(number)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        with machine(SPIN, timeout=0.5) as made:
            result = made.run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert result.reason == "timeout"
    assert len(numbers) > 1


@needs_kvm
def test_an_exception_of_a_programs_signal_handler_comes_out_of_run() -> None:
    def handler(number: int, frame: FrameType | None) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with machine(SPIN) as made, pytest.raises(InterruptedError):
            made.run()
    finally:
        signal.signal(signal.SIGALRM, before)


@needs_kvm
def test_the_first_exit_is_the_guests_and_not_a_tick() -> None:
    with machine(SPIN, timeout=0.4) as made:
        made.run()
        assert made.timings.first_exit is None


@needs_kvm
def test_threads_take_turns_faster_while_a_machine_runs_and_as_before_afterwards() -> None:
    before = sys.getswitchinterval()
    seen: list[float] = []

    class Probe(Counter):
        def read(self, offset: int, size: int) -> int:
            seen.append(sys.getswitchinterval())
            return 0

    for _ in range(2):
        with machine(READ_AND_EXIT) as made:
            made.add_port_device(PORT, 1, Probe())
            made.run()
            assert sys.getswitchinterval() == before
    assert seen == pytest.approx([SWITCH_INTERVAL] * 2)


@needs_kvm
def test_the_switch_interval_comes_back_after_an_exception() -> None:
    before = sys.getswitchinterval()

    class Broken(Counter):
        def read(self, offset: int, size: int) -> int:
            raise ValueError

    with machine(READ_AND_EXIT) as made:
        made.add_port_device(PORT, 1, Broken())
        with pytest.raises(ValueError):  # noqa: PT011 (it has no message)
            made.run()
    assert sys.getswitchinterval() == before


def test_the_switch_interval_comes_back_with_the_last_of_several() -> None:
    before = sys.getswitchinterval()
    with short_switch_interval():
        with short_switch_interval():
            assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL)
        assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL)
    assert sys.getswitchinterval() == before


@needs_kvm
def test_a_machine_whose_guest_waits_takes_no_processor_time() -> None:
    with machine(HALT_WITH_INTERRUPTS, timeout=1) as made:
        before = time.process_time()
        made.run()
        assert time.process_time() - before < 0.3
