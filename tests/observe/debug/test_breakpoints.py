"""Breakpoints: in memory only while the guest runs, and never in place of what the guest wrote."""

from collections.abc import Iterator

import pytest

from ringlet.errors import RingletError
from ringlet.kvm.memory import GuestMemory, anonymous
from ringlet.observe.debug.breakpoints import INT3, PORT_TRAP, Breakpoints
from ringlet.observe.debug.debug_registers import EXECUTE, WRITE, NoDebugRegisterError, Watch

CODE = 0x2000
SIZE = 0x4000
HARDWARE = [Watch(0x1000 * number, 1, EXECUTE) for number in range(1, 5)]


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    with GuestMemory([anonymous(0, SIZE)]) as made:
        made.write(CODE, b"\x90\x91\x92")
        yield made


def planted(breakpoints: Breakpoints, memory: GuestMemory) -> bytes:
    breakpoints.plant()
    seen = memory.read(CODE, 3)
    breakpoints.lift()
    return seen


def test_a_breakpoint_is_there_only_while_planted(memory: GuestMemory) -> None:
    for trap, expected in ((INT3, b"\xcc\x91\x92"), (PORT_TRAP, b"\xe6\xe5\x92")):
        breakpoints = Breakpoints(memory, trap)
        breakpoints.add(CODE, range(CODE, CODE + len(trap)))
        assert memory.read(CODE, 3) == b"\x90\x91\x92"
        breakpoints.plant()
        assert memory.read(CODE, 3) == expected
        assert breakpoints.is_planted(CODE)
        assert not breakpoints.is_planted(CODE + 1)
        assert not breakpoints.is_planted(None)
        breakpoints.lift()
        assert memory.read(CODE, 3) == b"\x90\x91\x92"
        assert not breakpoints.is_planted(CODE)
        breakpoints.remove(CODE)
        assert planted(breakpoints, memory) == b"\x90\x91\x92"


def test_two_addresses_of_the_same_memory_are_one_int3(memory: GuestMemory) -> None:
    breakpoints = Breakpoints(memory, INT3)
    breakpoints.add(CODE, [CODE])
    breakpoints.add(0xFFFF_8000_0000_2000, [CODE])
    assert planted(breakpoints, memory) == b"\xcc\x91\x92"
    assert memory.read(CODE, 1) == b"\x90"
    breakpoints.remove(CODE)
    assert planted(breakpoints, memory) == b"\xcc\x91\x92"


def test_breakpoints_that_overlap_give_back_all_bytes(memory: GuestMemory) -> None:
    breakpoints = Breakpoints(memory, PORT_TRAP)
    for address in (CODE + 1, CODE):
        breakpoints.add(address, [address, address + 1])
    assert planted(breakpoints, memory) == b"\xe6\xe6\xe5"
    assert memory.read(CODE, 3) == b"\x90\x91\x92"


def test_what_the_guest_writes_over_a_breakpoint_stays(memory: GuestMemory) -> None:
    breakpoints = Breakpoints(memory, PORT_TRAP)
    breakpoints.add(CODE, [CODE, CODE + 1])
    breakpoints.plant()
    memory.write(CODE + 1, b"\x12")
    breakpoints.lift()
    assert memory.read(CODE, 3) == b"\x90\x12\x92"
    assert planted(breakpoints, memory) == b"\xe6\xe5\x92"
    assert memory.read(CODE, 3) == b"\x90\x12\x92"


def test_an_int3_of_the_guests_stays(memory: GuestMemory) -> None:
    memory.write(CODE, INT3)
    breakpoints = Breakpoints(memory, INT3)
    breakpoints.add(CODE, [CODE])
    planted(breakpoints, memory)
    assert memory.read(CODE, 1) == INT3


@pytest.mark.parametrize("physical", [None, SIZE, 1 << 60])
def test_no_breakpoint_without_memory(memory: GuestMemory, physical: int | None) -> None:
    breakpoints = Breakpoints(memory, PORT_TRAP)
    with pytest.raises(RingletError) as caught:
        breakpoints.add(0x1234, [SIZE - 1, physical])
    assert "hardware breakpoint" in caught.value.hint
    assert 0x1234 not in breakpoints


def test_a_fifth_hardware_breakpoint_is_refused(memory: GuestMemory) -> None:
    breakpoints = Breakpoints(memory, INT3)
    breakpoints.add_hardware(HARDWARE)
    breakpoints.add_hardware(HARDWARE[:1])  # it is there already
    with pytest.raises(NoDebugRegisterError):
        breakpoints.add_hardware([Watch(8, 8, WRITE)])
    assert breakpoints.watches == HARDWARE
    breakpoints.remove_hardware(HARDWARE[1:3])
    assert breakpoints.watches == [HARDWARE[0], HARDWARE[3]]


def test_a_breakpoint_without_room_takes_a_debug_register(memory: GuestMemory) -> None:
    breakpoints = Breakpoints(memory, PORT_TRAP)
    breakpoints.add(CODE, [])
    assert breakpoints.watches == [Watch(CODE, 1, EXECUTE)]
    assert not breakpoints.has_traps
    assert planted(breakpoints, memory) == b"\x90\x91\x92"
    breakpoints.add_hardware([HARDWARE[0], *HARDWARE[2:]])
    with pytest.raises(NoDebugRegisterError):
        breakpoints.add_hardware([Watch(8, 8, WRITE)])
    with pytest.raises(NoDebugRegisterError):
        breakpoints.add(CODE + 8, [])
    assert breakpoints.software == [CODE]


def test_debug_registers_that_are_left_take_breakpoints(memory: GuestMemory) -> None:
    breakpoints = Breakpoints(memory, PORT_TRAP, in_registers=True)
    breakpoints.add(CODE, [CODE, CODE + 1])
    assert breakpoints.watches == [Watch(CODE, 1, EXECUTE)]
    assert planted(breakpoints, memory) == b"\x90\x91\x92"
    breakpoints.add_hardware([Watch(0x1000 * number, 8, WRITE) for number in range(4)])
    assert breakpoints.has_traps
    assert Watch(CODE, 1, EXECUTE) not in breakpoints.watches
    assert planted(breakpoints, memory) == b"\xe6\xe5\x92"
    breakpoints.remove_hardware([Watch(0, 8, WRITE)])
    assert planted(breakpoints, memory) == b"\x90\x91\x92"
