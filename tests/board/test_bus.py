"""Both buses against the plainest model of one: a table of who has each port or address."""

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.board.bus import MAX_MMIO_HANDLERS, PORTS, MmioBus, PortBus, Unclaimed
from ringlet.errors import ConfigError
from ringlet.kvm.vcpu import KEY_SIZE_SHIFT, KEY_WRITE


class Access(NamedTuple):
    device: int
    offset: int
    size: int
    value: int | None  # None for a read


class Recorder:
    """A device that keeps its accesses. Each of its bytes reads as its number and offset."""

    def __init__(self, number: int, log: list[Access]) -> None:
        self.number = number
        self.log = log

    def byte(self, offset: int) -> int:
        return (self.number * 16 + offset) & 0xFF

    def read(self, offset: int, size: int) -> int:
        self.log.append(Access(self.number, offset, size, None))
        return int.from_bytes(bytes(self.byte(offset + i) for i in range(size)), "little")

    def write(self, offset: int, size: int, value: int) -> None:
        self.log.append(Access(self.number, offset, size, value))


def read_port(bus: PortBus, port: int, size: int) -> int:
    """As the run loop does it."""
    key = size << KEY_SIZE_SHIFT | port
    return int((bus.handlers.get(key) or bus.handler(key))())


def write_port(bus: PortBus, port: int, size: int, value: int) -> None:
    key = KEY_WRITE | size << KEY_SIZE_SHIFT | port
    (bus.handlers.get(key) or bus.handler(key))(value)


def read_mmio(bus: MmioBus, address: int, size: int) -> int:
    key = size << KEY_SIZE_SHIFT
    return int((bus.handlers.get((key, address)) or bus.handler(key, address))())


def write_mmio(bus: MmioBus, address: int, size: int, value: int) -> None:
    key = KEY_WRITE | size << KEY_SIZE_SHIFT
    (bus.handlers.get((key, address)) or bus.handler(key, address))(value)


class Board:
    """Both buses, each with the same two devices next to each other and one apart."""

    RANGES = ((0x10, 4), (0x14, 2), (0x20, 1))

    def __init__(self) -> None:
        self.log: list[Access] = []
        self.unclaimed = Unclaimed()
        self.ports = PortBus(self.unclaimed)
        self.mmio = MmioBus(self.unclaimed)
        for number, (first, count) in enumerate(self.RANGES, 1):
            self.ports.add(first, count, Recorder(number, self.log))
            self.mmio.add(first, count, Recorder(number, self.log))


@pytest.fixture
def board() -> Board:
    return Board()


# Claims.

OVERLAPS = [(0x0F, 2), (0x10, 1), (0x10, 4), (0x11, 2), (0x13, 1), (0x13, 9), (0, 0x100), (0x20, 1)]
FREE = [(0x0F, 1), (0, 0x10), (0x16, 1), (0x16, 10), (0x1F, 1), (0x21, 1), (0x21, 0x100)]


@pytest.mark.parametrize(("first", "count"), OVERLAPS)
def test_a_range_that_is_taken_is_refused_and_changes_nothing(
    board: Board, first: int, count: int
) -> None:
    for bus in (board.ports, board.mmio):
        with pytest.raises(ConfigError, match=f"{first:#x}") as caught:
            bus.add(first, count, Recorder(9, board.log))
        assert "\n" not in caught.value.message + caught.value.hint
    for at in range(0x30):
        read_port(board.ports, at, 1)
        board.mmio.read(at, 1)
    assert 9 not in {access.device for access in board.log}


@pytest.mark.parametrize(("first", "count"), FREE)
def test_a_range_may_touch_another(board: Board, first: int, count: int) -> None:
    for bus in (board.ports, board.mmio):
        bus.add(first, count, Recorder(9, board.log))
    for at in (first, first + count - 1):
        board.log.clear()
        read_port(board.ports, at, 1)
        board.mmio.read(at, 1)
        assert board.log == [Access(9, at - first, 1, None)] * 2


@pytest.mark.parametrize(
    ("first", "count"), [(-1, 1), (0, 0), (0, -1), (PORTS, 1), (PORTS - 1, 2), (0, PORTS + 1)]
)
def test_ports_that_there_arent_are_refused(first: int, count: int) -> None:
    with pytest.raises(ConfigError):
        PortBus(Unclaimed()).add(first, count, Recorder(1, []))


@pytest.mark.parametrize(
    ("first", "count"), [(-1, 1), (0, 0), (0, -1), (1 << 64, 1), ((1 << 64) - 1, 2)]
)
def test_addresses_that_there_arent_are_refused(first: int, count: int) -> None:
    with pytest.raises(ConfigError):
        MmioBus(Unclaimed()).add(first, count, Recorder(1, []))


def test_the_first_and_the_last_can_be_had() -> None:
    log: list[Access] = []
    ports, mmio = PortBus(Unclaimed()), MmioBus(Unclaimed())
    ports.add(0, PORTS, Recorder(1, log))
    mmio.add(0, 1 << 64, Recorder(1, log))
    read_port(ports, PORTS - 1, 1)
    mmio.read((1 << 64) - 1, 1)
    assert log == [Access(1, PORTS - 1, 1, None), Access(1, (1 << 64) - 1, 1, None)]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), max_size=12))
def test_a_range_is_given_exactly_when_none_of_it_is_taken(ranges: list[tuple[int, int]]) -> None:
    log: list[Access] = []
    table: dict[int, Access] = {}
    ports, mmio = PortBus(Unclaimed()), MmioBus(Unclaimed())
    for number, (first, count) in enumerate(ranges):
        free = not any(at in table for at in range(first, first + count))
        for bus in (ports, mmio):
            if free:
                bus.add(first, count, Recorder(number, log))
            else:
                with pytest.raises(ConfigError):
                    bus.add(first, count, Recorder(number, log))
        if free:
            table.update({first + i: Access(number, i, 1, None) for i in range(count)})
    for at in range(60):
        log.clear()
        read_port(ports, at, 1)
        mmio.read(at, 1)
        assert log == [table[at]] * 2 if at in table else log == []


# Accesses.


@pytest.mark.parametrize("size", [1, 2, 4])
def test_an_access_within_a_device_is_one_access(board: Board, size: int) -> None:
    for _ in range(2):  # the second time it is known
        assert read_port(board.ports, 0x10, size) == board.mmio.read(0x10, size)
        write_port(board.ports, 0x10, size, 0x12)
        board.mmio.write(0x10, size, 0x12)
    assert len(board.ports.handlers) == 2  # the read and the write, for the run loop to find
    read, write = Access(1, 0, size, None), Access(1, 0, size, 0x12)
    assert board.log == [read, read, write, write] * 2
    assert (board.unclaimed.reads, board.unclaimed.writes) == (0, 0)


def test_a_port_access_across_devices_is_one_byte_at_a_time(board: Board) -> None:
    # 0x13 is the first device's, 0x14 and 0x15 the second's, 0x16 nobody's.
    assert read_port(board.ports, 0x13, 4) == 0xFF_21_20_13
    assert board.log == [Access(1, 3, 1, None), Access(2, 0, 1, None), Access(2, 1, 1, None)]
    board.log.clear()
    write_port(board.ports, 0x13, 4, 0x44332211)
    assert board.log == [Access(1, 3, 1, 0x11), Access(2, 0, 1, 0x22), Access(2, 1, 1, 0x33)]
    assert (board.unclaimed.reads, board.unclaimed.writes) == (1, 1)


def test_a_port_access_at_the_end_of_the_ports_goes_no_further() -> None:
    log: list[Access] = []
    bus = PortBus(Unclaimed())
    bus.add(PORTS - 1, 1, Recorder(1, log))
    assert read_port(bus, PORTS - 1, 4) == 0xFFFFFF10
    assert log == [Access(1, 0, 1, None)]


def test_an_mmio_access_that_no_device_holds_whole_is_unclaimed(board: Board) -> None:
    for address, size in ((0x0F, 2), (0x13, 2), (0x13, 8), (0x15, 2), (0x20, 4)):
        assert board.mmio.read(address, size) == (1 << 8 * size) - 1
        board.mmio.write(address, size, 0)
    assert board.log == []
    assert (board.unclaimed.reads, board.unclaimed.writes) == (5, 5)


PORT_ACCESSES = st.lists(
    st.tuples(
        st.integers(0x0C, 0x24), st.sampled_from([1, 2, 4]), st.none() | st.integers(0, 0xFFFFFFFF)
    ),
    max_size=30,
)


@given(PORT_ACCESSES)
def test_every_byte_of_a_port_access_goes_to_whom_it_belongs(
    accesses: list[tuple[int, int, Any]],
) -> None:
    board = Board()
    owners = {
        first + i: (number, i)
        for number, (first, count) in enumerate(Board.RANGES, 1)
        for i in range(count)
    }
    for port, size, value in accesses:
        board.log.clear()
        wanted = []
        for i in range(size):
            if port + i in owners:
                byte = None if value is None else value >> 8 * i & 0xFF
                wanted.append((*owners[port + i], byte))
        if value is None:
            got = read_port(board.ports, port, size)
            for i, byte in enumerate(got.to_bytes(size, "little")):
                number, offset = owners.get(port + i, (0, 0))
                assert byte == (number * 16 + offset if number else 0xFF)
        else:
            write_port(board.ports, port, size, value & (1 << 8 * size) - 1)
        seen = [
            (a.device, a.offset + i, None if a.value is None else a.value >> 8 * i & 0xFF)
            for a in board.log
            for i in range(a.size)
        ]
        assert seen == wanted


@given(st.lists(st.tuples(st.integers(0x0C, 0x24), st.sampled_from([1, 2, 4, 8])), max_size=30))
def test_an_mmio_access_goes_to_the_device_that_holds_it_whole(
    accesses: list[tuple[int, int]],
) -> None:
    board = Board()
    for address, size in accesses:
        board.log.clear()
        got = board.mmio.read(address, size)
        holders = [
            Access(number, address - first, size, None)
            for number, (first, count) in enumerate(Board.RANGES, 1)
            if first <= address and address + size <= first + count
        ]
        assert board.log == holders
        if not holders:
            assert got == (1 << 8 * size) - 1


@given(
    st.lists(
        st.tuples(st.integers(0x0C, 0x24), st.integers(1, 4), st.none() | st.integers(0, 255)),
        max_size=60,
    )
)
def test_a_handler_does_what_the_bus_does_the_first_time_and_later(
    accesses: list[tuple[int, int, int | None]],
) -> None:
    fast, slow = Board(), Board()
    for address, size, value in accesses:
        if value is None:
            assert read_mmio(fast.mmio, address, size) == slow.mmio.read(address, size)
        else:
            write_mmio(fast.mmio, address, size, value)
            slow.mmio.write(address, size, value)
    assert fast.log == slow.log
    for what in ("reads", "writes"):
        assert getattr(fast.unclaimed, what) == getattr(slow.unclaimed, what)
    claimed = {
        (address, size, value is None)
        for address, size, value in accesses
        if any(a <= address and address + size <= a + count for a, count in Board.RANGES)
    }
    assert len(fast.mmio.handlers) == len(claimed)


def test_a_device_that_comes_later_gets_what_was_unclaimed(board: Board) -> None:
    assert read_mmio(board.mmio, 0x80, 4) == 0xFFFF_FFFF
    board.mmio.add(0x80, 4, Recorder(3, board.log))
    assert read_mmio(board.mmio, 0x80, 4) == 0x33323130


# What nobody claims.


@pytest.mark.parametrize("size", [1, 2, 4])
def test_an_unclaimed_access_reads_all_ones_and_is_counted_once(board: Board, size: int) -> None:
    for _ in range(3):
        assert read_port(board.ports, 0x80, size) == (1 << 8 * size) - 1
        assert board.mmio.read(0x80, size) == (1 << 8 * size) - 1
        write_port(board.ports, 0x80, size, 1)
    assert (board.unclaimed.reads, board.unclaimed.writes) == (6, 3)
    assert board.log == []


def test_a_log_that_is_set_tells_of_each(board: Board) -> None:
    lines: list[str] = []
    board.unclaimed.log = lines.append
    read_port(board.ports, 0x80, 2)
    write_port(board.ports, 0x80, 1, 0xAB)
    board.mmio.read(0xD0000000, 8)
    board.mmio.write(0xD0000000, 4, 0xCD)
    assert lines == [
        "read of 2 at unclaimed port 0x80",
        "write of 1 at unclaimed port 0x80: 0xab",
        "read of 8 at unclaimed address 0xd0000000",
        "write of 4 at unclaimed address 0xd0000000: 0xcd",
    ]
    board.unclaimed.log = None
    read_port(board.ports, 0x80, 2)
    assert len(lines) == 4


def test_a_guest_that_tries_every_port_makes_nothing_grow(board: Board) -> None:
    for port in range(PORTS):
        for size in (1, 2, 4):
            read_port(board.ports, port, size)
            write_port(board.ports, port, size, 0)
    # For each port of a device three sizes, each read and written.
    claimed = sum(count for _, count in Board.RANGES)
    assert len(board.ports.handlers) <= claimed * 3 * 2


def test_a_guest_that_tries_every_address_makes_only_so_much_grow(board: Board) -> None:
    board.mmio.add(0x10000, 1 << 20, Recorder(3, board.log))
    for address in range(0x10000, 0x10000 + MAX_MMIO_HANDLERS):
        for size in (1, 2, 4):
            read_mmio(board.mmio, address, size)
            write_mmio(board.mmio, address, size, 0)
    assert len(board.mmio.handlers) == MAX_MMIO_HANDLERS
    board.log.clear()
    assert read_mmio(board.mmio, 0x10000 + MAX_MMIO_HANDLERS, 1) == 0x30
    assert board.log == [Access(3, MAX_MMIO_HANDLERS, 1, None)]


@pytest.mark.parametrize("bus_type", [PortBus, MmioBus])
def test_what_the_kernel_has_keeps_others_away(bus_type: type[PortBus] | type[MmioBus]) -> None:
    bus = bus_type(Unclaimed(), [(0x20, 2)])
    for first, count in ((0x20, 1), (0x21, 1), (0x1F, 2), (0x21, 8), (0x10, 0x40)):
        with pytest.raises(ConfigError):
            bus.add(first, count, Recorder(1, []))
    bus.add(0x1F, 1, Recorder(1, []))
    bus.add(0x22, 1, Recorder(2, []))
