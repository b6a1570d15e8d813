"""Interrupts from the host's side: lines and irqfds, into a halted guest."""

import os

import pytest

from ringlet.kvm.exits import PortWrite
from ringlet.kvm.registers import Registers

from .background import Background, until
from .guest import CODE, Guest, real_mode

pytestmark = pytest.mark.needs_kvm

GSI = 4
VECTOR = 0x20 + GSI
HANDLER = 0x1800
READY = 0x3000
RFLAGS_IF = 1 << 9

# Sets the first PIC up (Intel 8259A, initialization command words) with its vectors from 0x20
# on and all but line 4 masked, says that it is ready, and halts for ever.
PROGRAM = bytes.fromhex(
    "b011 e620"  # mov al, 0x11; out 0x20, al
    "b020 e621"  # mov al, 0x20; out 0x21, al
    "b004 e621"  # mov al, 4;    out 0x21, al
    "b001 e621"  # mov al, 1;    out 0x21, al
    "b0ef e621"  # mov al, 0xef; out 0x21, al
    "c606003001"  # mov byte [0x3000], 1
    "fb"  # sti
    "f4 ebfd"  # l: hlt; jmp l
)
# Ends the interrupt, then tells the host.
ON_INTERRUPT = bytes.fromhex(
    "b020 e620"  # mov al, 0x20; out 0x20, al
    "b077 e680"  # mov al, 0x77; out 0x80, al
    "cf"  # iret
)
TOLD = PortWrite(0x80, 1, 0x77)


def prepare(guest: Guest) -> None:
    guest.memory.write(4 * VECTOR, HANDLER.to_bytes(4, "little"))  # segment 0
    guest.memory.write(HANDLER, ON_INTERRUPT)


def until_halted(guest: Guest, run: Background) -> None:
    until(lambda: guest.memory.read(READY, 1) == b"\x01")
    run.until_asleep()


def test_an_irqfd_wakes_a_halted_guest() -> None:
    fd = os.eventfd(0)
    with real_mode(PROGRAM, irqchip=True) as guest:
        prepare(guest)
        guest.vm.irqfd(fd, GSI)
        for _ in range(3):
            with Background(guest.vcpu) as run:
                until_halted(guest, run)
                os.eventfd_write(fd, 1)
                assert run.exit == TOLD
    os.close(fd)


def test_an_irqfd_taken_back_wakes_nobody() -> None:
    fd = os.eventfd(0)
    with real_mode(PROGRAM, irqchip=True) as guest:
        prepare(guest)
        guest.vm.irqfd(fd, GSI)
        guest.vm.irqfd(fd, GSI, deassign=True)
        with Background(guest.vcpu) as run:
            until_halted(guest, run)
            os.eventfd_write(fd, 1)
            run.until_asleep()
            guest.vcpu.kick()
            assert run.exit != TOLD
    assert os.eventfd_read(fd) == 1  # nobody took it
    os.close(fd)


def test_a_line_that_goes_high_is_one_interrupt() -> None:
    with real_mode(PROGRAM, irqchip=True) as guest:
        prepare(guest)
        for _ in range(2):
            with Background(guest.vcpu) as run:
                until_halted(guest, run)
                guest.vm.set_irq(GSI, True)
                assert run.exit == TOLD
            with Background(guest.vcpu) as run:  # it stays high: an edge counts once
                run.until_asleep()
                guest.vm.set_irq(GSI, True)
                guest.vm.set_irq(GSI, False)
                run.until_asleep()
                guest.vcpu.kick()
                assert run.exit != TOLD


def test_an_interrupt_waits_until_the_guest_allows_it() -> None:
    # nop; nop; sti; nop; hlt
    with real_mode(b"\x90\x90\xfb\x90\xf4", Registers(), irqchip=True) as guest:
        prepare(guest)
        guest.memory.write(CODE + 0x100, PROGRAM[:20] + b"\xe6\x81")  # the set-up, out 0x81, al
        guest.enter_at(CODE + 0x100)
        assert guest.vcpu.run() == PortWrite(0x81, 1, 0xEF)
        assert not guest.vcpu.registers.rflags & RFLAGS_IF
        guest.vm.set_irq(GSI, True)
        guest.enter_at(CODE)
        assert guest.vcpu.run() == TOLD
