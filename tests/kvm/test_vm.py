"""Memory slots, eventfds, and that nothing stays open."""

import errno
import mmap
import os
from collections.abc import Iterator
from typing import Any

import pytest

from ringlet.kvm.core import KvmError
from ringlet.kvm.exits import Halt, MmioRead, MmioWrite, PortRead, PortWrite
from ringlet.kvm.memory import GuestMemory, Region, anonymous
from ringlet.kvm.registers import Registers
from ringlet.kvm.system import System
from ringlet.kvm.vm import Vm

from .guest import CODE, LOOP, MEMORY, MMIO, long_mode, real_mode

pytestmark = pytest.mark.needs_kvm

HALT = b"\xf4"
ABOVE = 0x100000


@pytest.fixture
def eventfd() -> Iterator[int]:
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    yield fd
    os.close(fd)


@pytest.fixture
def memfd() -> Iterator[int]:
    fd = os.memfd_create("guest")
    os.ftruncate(fd, MEMORY)
    yield fd
    os.close(fd)


def signals(eventfd: int) -> int:
    """How many came since it was last asked."""
    try:
        return os.eventfd_read(eventfd)
    except BlockingIOError:
        return 0


# Memory slots.


def test_guest_and_host_see_each_others_writes() -> None:
    # mov al, [0x3000]; inc al; mov [0x3001], al; hlt
    with real_mode(b"\xa0\x00\x30\xfe\xc0\xa2\x01\x30" + HALT) as guest:
        for value in (1, 0x7F):
            guest.memory.write(0x3000, bytes([value]))
            guest.enter_at(CODE)
            assert guest.vcpu.run() == Halt()
            assert guest.memory.read(0x3000, 2) == bytes([value, value + 1])


def test_memory_of_a_descriptor_is_the_files(memfd: int) -> None:
    # mov al, [0x3000]; inc al; mov [0x3001], al; hlt
    code = b"\xa0\x00\x30\xfe\xc0\xa2\x01\x30" + HALT
    memory = GuestMemory([Region(0, mmap.mmap(memfd, MEMORY))])
    with real_mode(code, memory=memory) as guest:
        assert os.pread(memfd, len(code), CODE) == code
        os.pwrite(memfd, b"\x41", 0x3000)
        assert guest.vcpu.run() == Halt()
        assert os.pread(memfd, 2, 0x3000) == b"\x41\x42"
    assert os.pread(memfd, 2, 0x3000) == b"\x41\x42"  # it outlives the VM


def test_a_private_mapping_of_a_descriptor_leaves_the_file_alone(memfd: int) -> None:
    # mov byte [0x3000], 7; hlt
    code = b"\xc6\x06\x00\x30\x07" + HALT
    os.pwrite(memfd, b"\x01", 0x3000)
    memory = GuestMemory([Region(0, mmap.mmap(memfd, MEMORY, flags=mmap.MAP_PRIVATE))])
    with real_mode(code, memory=memory) as guest:
        assert guest.memory.read(0x3000, 1) == b"\x01"
        assert guest.vcpu.run() == Halt()
        assert guest.memory.read(0x3000, 1) == b"\x07"
    assert os.pread(memfd, 1, 0x3000) == b"\x01"


def test_a_write_to_a_read_only_slot_is_an_mmio_exit() -> None:
    # mov al, es:[di]; mov es:[di], ah; out 0x80, al; hlt
    code = b"\x26\x8a\x05\x26\x88\x25\xe6\x80" + HALT
    with GuestMemory([anonymous(MMIO, 0x1000)]) as rom:
        rom.write(MMIO, b"\x55")
        with real_mode(code, Registers(rax=0x6600)) as guest:
            guest.vm.map_region(rom.regions[0], readonly=True)
            assert guest.vcpu.run() == MmioWrite(MMIO, 1, 0x66)
            assert guest.vcpu.run() == PortWrite(0x80, 1, 0x55)
            assert guest.vcpu.run() == Halt()
        assert rom.read(MMIO, 1) == b"\x55"


@pytest.mark.parametrize("page", [0x3000, 0x4000, MEMORY - 0x1000])
def test_a_write_to_a_protected_page_is_an_exit_and_to_no_other(page: int) -> None:
    # mov [rbx - 1], al; mov [rbx], al; mov cl, [rbx]; mov [rdx], cl; hlt
    code = b"\x88\x43\xff\x88\x03\x8a\x0b\x88\x0a" + HALT
    registers = Registers(rax=0x77, rbx=page, rdx=0x2000)
    with long_mode(code, registers) as guest:
        guest.memory.write(page, b"\x55")
        for pages in ({page}, {page, 0x5000, 1 << 40}):
            guest.vm.protect(pages)
            guest.vcpu.registers = registers._replace(rip=CODE)
            assert guest.vcpu.run() == MmioWrite(page, 1, 0x77)
            assert guest.vcpu.run() == Halt()
            assert guest.memory.read(page - 1, 2) == b"\x77\x55"
            assert guest.memory.read(0x2000, 1) == b"\x55"
        guest.vm.protect(())
        guest.vcpu.registers = registers._replace(rip=CODE)
        assert guest.vcpu.run() == Halt()
        assert guest.memory.read(page, 1) == b"\x77"


def test_memory_of_two_regions_has_a_hole_between() -> None:
    # mov al, [rbx]; mov [rcx], al; mov [rdx], al; hlt
    code = b"\x8a\x03\x88\x01\x88\x02" + HALT
    registers = Registers(rbx=0x3000, rcx=ABOVE + 0xFFF, rdx=MEMORY)
    with GuestMemory([anonymous(ABOVE, 0x1000)]) as above, long_mode(code, registers) as guest:
        assert guest.vm.map_region(above.regions[0]) == 1
        guest.memory.write(0x3000, b"x")
        assert guest.vcpu.run() == MmioWrite(MEMORY, 1, ord("x"))
        assert guest.vcpu.run() == Halt()
        assert above.read(ABOVE + 0xFFF, 1) == b"x"
        with pytest.raises(BufferError):  # the VM has it
            above.close()
        guest.vm.close()


def test_a_region_that_kvm_refuses_can_still_be_unmapped(no_leak: None) -> None:
    with GuestMemory([anonymous(0, 0x2000)]) as memory, System() as system, Vm(system) as vm:
        vm.map_memory(memory)
        with (  # in the way that an error takes: out of the blocks of what was opened
            pytest.raises(KvmError, match="map memory at 0x1000") as caught,
            GuestMemory([anonymous(0x1000, 0x1000)]) as overlapping,
        ):
            vm.map_memory(overlapping)
        assert caught.value.errno == errno.EEXIST


def test_a_region_stays_mapped_while_its_vm_lives() -> None:
    memory = GuestMemory([anonymous(0, 0x1000)])
    with System() as system, Vm(system) as vm:
        vm.map_memory(memory)
        with pytest.raises(BufferError):
            memory.close()
        memory.write(0, b"still there")
    memory.close()


# Interrupt controllers and timer, only when asked for.


@pytest.mark.parametrize("irqchip", [False, True])
def test_the_interrupt_controllers_are_in_the_kernel_when_asked_for(irqchip: bool) -> None:
    # in al, 0x21; out 0x80, al
    with real_mode(b"\xe4\x21\xe6\x80", irqchip=irqchip) as guest:
        exit = guest.vcpu.run()
        assert (exit == PortRead(0x21, 1)) is not irqchip
        assert isinstance(exit, PortWrite) is irqchip


@pytest.mark.parametrize("pit", [False, True])
def test_the_timer_is_in_the_kernel_when_asked_for(pit: bool) -> None:
    # in al, 0x40; out 0x80, al
    with real_mode(b"\xe4\x40\xe6\x80", irqchip=True) as guest:
        if pit:
            guest.vm.create_pit()
        exit = guest.vcpu.run()
        assert (exit == PortRead(0x40, 1)) is not pit
        assert isinstance(exit, PortWrite) is pit


def test_what_needs_the_interrupt_controllers_is_refused_without(eventfd: int) -> None:
    with real_mode(HALT) as guest:
        for call in (
            guest.vm.create_pit,
            lambda: guest.vm.set_irq(4, True),
            lambda: guest.vm.irqfd(eventfd, 4),
        ):
            with pytest.raises(KvmError):
                call()
        with pytest.raises(KvmError):  # too late: a vCPU is there
            guest.vm.create_irqchip()


# ioeventfd.


def test_a_write_to_a_port_signals_its_ioeventfd_and_makes_no_exit(eventfd: int) -> None:
    # out dx, al; out dx, al; out dx, ax; in al, dx
    with real_mode(b"\xee\xee\xef\xec", Registers(rdx=0x510, rax=3)) as guest:
        guest.vm.ioeventfd(eventfd, 0x510, 1, port=True)
        assert guest.vcpu.run() == PortWrite(0x510, 2, 3)  # another width
        assert guest.vcpu.run() == PortRead(0x510, 1)
        assert signals(eventfd) == 2


def test_with_match_only_that_value_signals(eventfd: int) -> None:
    # out dx, al; inc al; out dx, al; inc al; out dx, al; hlt
    code = b"\xee\xfe\xc0\xee\xfe\xc0\xee" + HALT
    for match in (0, 1, 2):
        with real_mode(code, Registers(rdx=0x510)) as guest:
            guest.vm.ioeventfd(eventfd, 0x510, 1, port=True, match=match)
            seen = []
            while isinstance(exit := guest.vcpu.run(), PortWrite):
                seen.append(exit.value)
            assert exit == Halt()
            assert seen == [value for value in (0, 1, 2) if value != match]
            assert signals(eventfd) == 1


@pytest.mark.parametrize(("length", "match"), [(4, None), (0, None), (4, 0x01020304)])
def test_a_write_to_memory_signals_its_ioeventfd(
    eventfd: int, length: int, match: int | None
) -> None:
    # mov es:[di], eax; mov eax, es:[di]
    code = b"\x26\x66\x89\x05\x26\x66\x8b\x05"
    with real_mode(code, Registers(rax=0x01020304)) as guest:
        guest.vm.ioeventfd(eventfd, MMIO, length, match=match)
        assert guest.vcpu.run() == MmioRead(MMIO, 4)
        assert signals(eventfd) == 1


def test_a_write_to_memory_of_another_value_makes_an_exit(eventfd: int) -> None:
    with real_mode(b"\x26\x66\x89\x05", Registers(rax=5)) as guest:  # mov es:[di], eax
        guest.vm.ioeventfd(eventfd, MMIO, 4, match=6)
        assert guest.vcpu.run() == MmioWrite(MMIO, 4, 5)
        assert signals(eventfd) == 0


def test_an_ioeventfd_taken_back_makes_exits_again(eventfd: int) -> None:
    # out dx, al; jmp back
    with real_mode(b"\xee\xeb\xfd", Registers(rdx=0x510, rax=9)) as guest:
        guest.vm.ioeventfd(eventfd, 0x510, 1, port=True, match=9)
        guest.vm.ioeventfd(eventfd, 0x510, 1, port=True, match=9, deassign=True)
        assert guest.vcpu.run() == PortWrite(0x510, 1, 9)
        assert signals(eventfd) == 0
        with pytest.raises(KvmError) as caught:
            guest.vm.ioeventfd(eventfd, 0x510, 1, port=True, match=9, deassign=True)
        assert caught.value.errno == errno.ENOENT


def test_what_is_no_eventfd_is_refused() -> None:
    with real_mode(HALT, irqchip=True) as guest, open("/dev/null", "rb") as file:
        for fd in (-1, file.fileno()):
            with pytest.raises(KvmError):
                guest.vm.irqfd(fd, 4)
            with pytest.raises(KvmError):
                guest.vm.ioeventfd(fd, 0x510, 1, port=True)


# The whole.


def test_a_capability_that_there_isnt_is_refused() -> None:
    with real_mode(HALT) as guest, pytest.raises(KvmError, match="capability 1000000"):
        guest.vm.enable_capability(1_000_000)


def test_a_closed_vm_does_nothing_more(no_leak: None) -> None:
    with real_mode(HALT) as guest:
        guest.vm.close()
        guest.vm.close()
        assert guest.memory.read(CODE, 1) == HALT
        for call in (guest.vm.create_irqchip, guest.vm.create_vcpu):
            with pytest.raises(KvmError) as caught:
                call()
            assert caught.value.errno == errno.EBADF


def test_an_error_on_the_way_closes_everything(no_leak: None) -> None:
    def fail() -> None:
        with real_mode(LOOP, irqchip=True) as guest:
            guest.vm.create_vcpu()
            guest.vcpu.tick(0.1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_a_hundred_vms_leave_nothing_behind(held: Any) -> None:
    def run_one() -> None:
        memory = GuestMemory([anonymous(0, 16 << 20)])
        with real_mode(HALT, irqchip=True, memory=memory) as guest:
            guest.vcpu.tick(0.1)
            guest.vcpu.kick()
            guest.vcpu.run()

    for _ in range(3):  # what is made once for a process
        run_one()
    before = held()
    for _ in range(100):
        run_one()
    after = held()
    assert after.descriptors == before.descriptors
    assert after.threads == before.threads
    # Python's own allocator may take a mapping; 100 leaks would be 100 of 16 MiB.
    assert after.mappings - before.mappings < 20
    assert after.mapped - before.mapped < 64 << 20


def test_many_vms_live_side_by_side(no_leak: None) -> None:
    # out 0x80, al; hlt
    guests = [real_mode(b"\xe6\x80" + HALT, Registers(rax=i)) for i in range(50)]
    try:
        opened = [guest.__enter__() for guest in guests]
        for i, guest in enumerate(opened):
            assert guest.vcpu.run() == PortWrite(0x80, 1, i)
        for guest in reversed(opened):
            assert guest.vcpu.run() == Halt()
    finally:
        for manager in guests:
            manager.__exit__(None, None, None)
