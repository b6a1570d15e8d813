"""The board's one list: names, places, interrupts and the state of each device."""

from collections.abc import Iterator

import pytest

from ringlet.board import layout
from ringlet.board.board import Board, Placed, plain
from ringlet.errors import ConfigError
from ringlet.kvm.memory import GuestMemory, anonymous
from ringlet.kvm.system import System
from ringlet.kvm.vm import Vm

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]

MIB = 1 << 20


class Scratch:
    """A register that keeps what is written."""

    def __init__(self) -> None:
        self.state = {"value": 0}

    def read(self, offset: int, size: int) -> int:
        return self.state["value"]

    def write(self, offset: int, size: int, value: int) -> None:
        self.state["value"] = value


@pytest.fixture
def board() -> Iterator[Board]:
    with GuestMemory([anonymous(0, MIB)]) as memory, System() as system, Vm(system) as vm:
        yield Board(memory, vm, pit=True)


def names(board: Board) -> list[str]:
    return [placed.name for placed in board.devices]


def test_what_kvm_has_is_listed_and_its_places_are_taken(board: Board) -> None:
    assert names(board) == ["pic", "io-apic", "local-apic", "pit"]
    for placed in board.devices:
        assert placed.device is None
        assert placed.state is None
        for first, count in placed.ports:
            with pytest.raises(ConfigError, match="another device"):
                board.add(Placed("mine", Scratch(), ports=[(first, count)]))
        for first, count in placed.mmio:
            with pytest.raises(ConfigError, match="another device"):
                board.add(Placed("mine", Scratch(), mmio=[(first, count)]))


def test_without_a_pit_its_ports_are_free() -> None:
    with GuestMemory([anonymous(0, MIB)]) as memory, System() as system, Vm(system) as vm:
        board = Board(memory, vm, pit=False)
        assert "pit" not in names(board)
        board.add(Placed("mine", Scratch(), ports=layout.PIT_PORTS))


def test_kvms_own_pages_are_taken_though_no_device_is_there(board: Board) -> None:
    with pytest.raises(ConfigError, match="another device"):
        board.add(Placed("mine", Scratch(), mmio=[(layout.TSS, 1)]))


def test_a_device_answers_at_each_of_its_places_and_is_found_by_its_name(board: Board) -> None:
    device = Scratch()
    board.add(Placed("mine", device, ports=[(0x700, 1), (0x710, 2)], mmio=[(0xD000_0000, 16)]))
    board.mmio.write(0xD000_0008, 4, 42)
    for first in (0x700, 0x710):
        assert board.ports.handler(first | 1 << 16)() == 42
    found = board.find("mine")
    assert found is not None
    assert found.device is device
    assert board.find("yours") is None


def test_a_name_that_is_taken_gets_a_number(board: Board) -> None:
    for first in (0x700, 0x701, 0x702):
        board.add(Placed("mine", Scratch(), ports=[(first, 1)]))
    assert names(board)[-3:] == ["mine", "mine-2", "mine-3"]


def test_a_device_that_was_refused_is_not_listed(board: Board) -> None:
    before = names(board)
    for mmio in ((0, 1), (MIB - 1, 1)):
        with pytest.raises(ConfigError, match="in the guest's RAM"):
            board.add(Placed("mine", Scratch(), mmio=[mmio]))
    assert names(board) == before


def test_a_state_is_a_copy(board: Board) -> None:
    device = Scratch()
    board.add(Placed("mine", device, ports=[(0x700, 1)]))
    placed = board.devices[-1]
    before = placed.state
    device.write(0, 1, 5)
    assert (before, placed.state) == ({"value": 0}, {"value": 5})


def test_objects_become_dictionaries_and_what_can_change_is_copied() -> None:
    class Slots:
        __slots__ = ("inner", "ram")

        def __init__(self) -> None:
            self.ram = bytearray(b"\1\2")
            self.inner = [Attributes(), (1, None)]

    class Attributes:
        def __init__(self) -> None:
            self.on = True

    state = Slots()
    copy = plain(state)
    state.ram[0] = 9
    assert copy == {"ram": b"\1\2", "inner": [{"on": True}, [1, None]]}


@pytest.mark.parametrize("number", [-1, 24, 1 << 40])
def test_a_line_that_is_not_there_is_refused(board: Board, number: int) -> None:
    with pytest.raises(ConfigError, match="no interrupt line"):
        board.irq_line(number)
