"""Port writes that make no exit come with the next one: all of them, in order."""

import pytest

from ringlet.kvm.exits import Halt, Interrupted, MmioRead, PortRead, PortWrite
from ringlet.kvm.registers import Registers

from .guest import LOOP, MMIO, MMIO_SEGMENT, real_mode

pytestmark = pytest.mark.needs_kvm

PORT = 0x510
RING = 169  # what fits KVM's ring; a write more makes an exit
HALT = b"\xf4"
OUT = b"\xee"  # out dx, al
IN = b"\xec"  # in al, dx
INC = b"\xfe\xc0"  # inc al


def test_they_come_before_the_exit_that_brings_them() -> None:
    with real_mode(OUT + INC + OUT + INC + OUT + HALT, Registers(rdx=PORT, rax=5)) as guest:
        guest.vm.coalesce_port(PORT)
        assert [guest.vcpu.run() for _ in range(3)] == [PortWrite(PORT, 1, 5 + i) for i in range(3)]
        assert guest.vcpu.run() == Halt()
        assert guest.vcpu.exits == {"halt": 1}


def test_a_read_behind_them_gets_the_reply_that_is_its_own() -> None:
    code = OUT + IN + OUT + HALT
    with real_mode(code, Registers(rdx=PORT, rax=1)) as guest:
        guest.vm.coalesce_port(PORT)
        assert guest.vcpu.run() == PortWrite(PORT, 1, 1)
        assert guest.vcpu.run(0x77) == PortRead(PORT, 1)
        assert guest.vcpu.run(0x42) == PortWrite(PORT, 1, 0x42)
        assert guest.vcpu.run() == Halt()


def test_mmio_behind_them_is_what_it_was() -> None:
    mov_ds = b"\xb9" + MMIO_SEGMENT.to_bytes(2, "little") + b"\x8e\xd9"  # mov cx, ..; mov ds, cx
    code = mov_ds + OUT + b"\xa0\x04\x00" + HALT  # mov al, [4]
    with real_mode(code, Registers(rdx=PORT, rax=9)) as guest:
        guest.vm.coalesce_port(PORT)
        assert guest.vcpu.run() == PortWrite(PORT, 1, 9)
        assert guest.vcpu.run() == MmioRead(MMIO + 4, 1)
        assert guest.vcpu.run(0x33) == Halt()
        assert guest.vcpu.registers.rax & 0xFF == 0x33


@pytest.mark.parametrize("count", [RING - 1, RING, RING + 1, 3 * RING])
def test_none_is_lost_where_the_ring_is_full(count: int) -> None:
    code = OUT + INC + b"\xe2\xfb" + HALT  # loop to the out
    with real_mode(code, Registers(rdx=PORT, rcx=count)) as guest:
        guest.vm.coalesce_port(PORT)
        writes = []
        while (exit := guest.vcpu.run()) != Halt():
            writes.append(exit)
    assert writes == [PortWrite(PORT, 1, i & 0xFF) for i in range(count)]


def test_a_kick_brings_them_too() -> None:
    with real_mode(OUT + LOOP, Registers(rdx=PORT, rax=3)) as guest:
        guest.vm.coalesce_port(PORT)
        guest.vcpu.tick(0.05)
        exits = [guest.vcpu.run()]
        while exits[-1] == Interrupted() and len(exits) < 100:
            exits.append(guest.vcpu.run())
        guest.vcpu.tick(0)
    assert exits[-1] == PortWrite(PORT, 1, 3)
