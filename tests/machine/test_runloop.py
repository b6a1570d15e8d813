"""The run loop: strings, MMIO, kicks, signals, and the interval at which threads take turns."""

import signal
import sys
import time
from types import FrameType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ringlet.board.bus import MmioBus, Unclaimed
from ringlet.machine.device_error import DeviceError
from ringlet.machine.runloop import SWITCH_INTERVAL, short_switch_interval

from ..boot.elf_builder import Part, build
from ..examples import examples
from ..machine_code import (
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


MMIO = 0xD000_0000
READS_GO_TO = 0x20_0000
MOV_RAX = b"\x48\xb8"  # mov rax, imm64
LOAD = {1: b"\xa0", 2: b"\x66\xa1", 4: b"\xa1", 8: b"\x48\xa1"}  # mov of rax and [imm64]
STORE = {1: b"\xa2", 2: b"\x66\xa3", 4: b"\xa3", 8: b"\x48\xa3"}

MmioAccess = tuple[int, int, int | None]  # address, size, value to write


class ChangingBytes:
    """Each byte reads as its offset plus the number of writes so far. Keeps its accesses."""

    def __init__(self) -> None:
        self.log: list[tuple[int, int, int | None]] = []
        self.writes = 0

    def read(self, offset: int, size: int) -> int:
        self.log.append((offset, size, None))
        return int.from_bytes(bytes(offset + i + self.writes & 0xFF for i in range(size)), "little")

    def write(self, offset: int, size: int, value: int) -> None:
        self.log.append((offset, size, value))
        self.writes += 1


def parts_of(address: int, size: int) -> list[tuple[int, int]]:
    """KVM makes an exit for each page of an access."""
    first = min(size, 0x1000 - address % 0x1000)
    return [(address, first)] + [(address + first, size - first)] * (first < size)


def by_the_bus(bus: MmioBus, accesses: list[MmioAccess]) -> list[int]:
    """What the reads give."""
    values = []
    for address, size, value in accesses:
        read = 0
        for part, count in parts_of(address, size):
            shift = 8 * (part - address)
            if value is None:
                read |= bus.read(part, count) << shift
            else:
                bus.write(part, count, value >> shift & (1 << 8 * count) - 1)
        if value is None:
            values.append(read)
    return values


def by_a_guest(accesses: list[MmioAccess]) -> bytes:
    """An ELF64 image that makes them. What the reads give is at READS_GO_TO, 8 bytes each."""
    code = b""
    slot = READS_GO_TO
    for address, size, value in accesses:
        where = address.to_bytes(8, "little")
        code += MOV_RAX + (value or 0).to_bytes(8, "little")
        if value is None:
            code += LOAD[size] + where + STORE[8] + slot.to_bytes(8, "little")
            slot += 8
        else:
            code += STORE[size] + where
    return bytes(build(64, [Part(0x100000, code + exit_with(0))]))


@st.composite
def mmio_accesses(draw: st.DrawFn) -> list[MmioAccess]:
    """Few addresses, so that most come again: in and around the devices of the test."""
    few = st.sampled_from([-2, 0, 4, 0xE, 0x10, 0x12, 0x20, 0xFFE, 0x1000])
    accesses = draw(st.lists(st.tuples(few, st.sampled_from([1, 2, 4, 8]), st.booleans())))
    return [
        (MMIO + at, size, draw(st.integers(0, (1 << 8 * size) - 1)) if write else None)
        for at, size, write in accesses
    ]


@needs_kvm
@given(mmio_accesses())
@example(
    [
        (MMIO + at, size, value)
        for at in (0, 2, 0xE, 0x10, 0x12, 0xFFE)
        for size in LOAD
        for value in (None, 0x7F)
    ]
    * 2
)
@settings(max_examples=examples(40), deadline=None)
def test_a_guests_mmio_is_what_the_bus_makes_of_it(accesses: list[MmioAccess]) -> None:
    places = ((MMIO, 0x10), (MMIO + 0x10, 4), (MMIO + 0xF00, 0x200))
    wanted = [ChangingBytes() for _ in places]
    bus = MmioBus(Unclaimed())
    for (address, size), device in zip(places, wanted, strict=True):
        bus.add(address, size, device)
    values = by_the_bus(bus, accesses)

    devices = [ChangingBytes() for _ in places]
    with machine(by_a_guest(accesses), protocol="elf64") as made:
        for (address, size), device in zip(places, devices, strict=True):
            made.add_mmio_device(address, size, device)
        assert made.run().status == 0
        data = made.memory.read(READS_GO_TO, 8 * len(values))
    assert [device.log for device in devices] == [device.log for device in wanted]
    assert [data[i : i + 8] for i in range(0, len(data), 8)] == [
        value.to_bytes(8, "little") for value in values
    ]


@needs_kvm
def test_kicks_at_any_moment_lose_no_access_and_end_no_run(counter: Counter) -> None:
    # mov cx, 3000; in al, dx; add bx, ax with ah 0; loop; the sum's low byte is the status
    loop = b"\xb4\x00\xb9\xb8\x0b" + IN_AL_DX + b"\x01\xc3\xe2\xfb" + b"\x88\xd8" + EXIT
    with machine(MOV_DX_PORT + loop) as made:
        made.add_port_device(PORT, 1, counter)
        made.start()
        while made.control.end is None:
            made.vm.vcpus[0].kick()
        result = made.wait(60)
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
        with pytest.raises(DeviceError):
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
