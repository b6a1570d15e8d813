"""A vCPU's state: what is set is what is got, and what the guest has."""

import errno
import struct

import pytest

from ringlet.kvm.core import KvmError, lib
from ringlet.kvm.cpuid import ENTRY_SIZE, for_vcpu
from ringlet.kvm.exits import Halt, PortWrite
from ringlet.kvm.registers import DebugRegisters, DescriptorTable, Registers
from ringlet.kvm.vcpu import MP_HALTED, MP_RUNNABLE, MP_UNINITIALIZED

from .guest import CODE, LOOP, PAGE_TABLES, STACK, bare, long_mode, long_mode_registers, real_mode

pytestmark = pytest.mark.needs_kvm

HALT = b"\xf4"
IA32_SYSENTER_EIP = 0x176
IA32_LSTAR = 0xC000_0082
NO_MSR = 0x0BAD_0BAD
STATES = ("REGS", "SREGS", "XSAVE", "XCRS", "MP_STATE", "EVENTS", "LAPIC")


def state(name: str) -> int:
    return int(getattr(lib, f"RINGLET_STATE_{name}"))


def test_a_fresh_vcpu_is_at_the_reset_vector() -> None:
    with bare(HALT) as guest:
        special = guest.vcpu.special_registers
        assert (guest.vcpu.registers.rip, special.cs.base) == (0xFFF0, 0xFFFF0000)
        assert special.cr0 & 1 == 0
        assert guest.vcpu.mp_state == MP_RUNNABLE


def test_registers_come_back_as_they_were_set() -> None:
    registers = Registers._make([*(0x1000 + i << 32 | i for i in range(16)), 0x1234, 0x246])
    with bare(HALT) as guest:
        guest.vcpu.registers = registers
        assert guest.vcpu.registers == registers


def test_registers_are_the_guests() -> None:
    # inc ax; add bx, cx; hlt
    with real_mode(b"\x40\x01\xcb" + HALT, Registers(rax=4, rbx=5, rcx=6)) as guest:
        assert guest.vcpu.run() == Halt()
        after = guest.vcpu.registers
        assert (after.rax, after.rbx, after.rip, after.rsp) == (5, 11, CODE + 4, STACK)


def test_special_registers_come_back_as_they_were_set() -> None:
    with long_mode(HALT) as guest:
        special = long_mode_registers(guest.vcpu.special_registers)._replace(
            gdt=DescriptorTable(0x5000, 0x17), idt=DescriptorTable(0x6000, 0xFFF), cr2=0xDEAD000
        )
        guest.vcpu.special_registers = special
        after = guest.vcpu.special_registers
        assert (after.gdt, after.idt, after.cr2) == ((0x5000, 0x17), (0x6000, 0xFFF), 0xDEAD000)
        assert (after.cs, after.cr0, after.cr3, after.cr4, after.efer) == (
            special.cs,
            special.cr0,
            special.cr3,
            special.cr4,
            special.efer,
        )


def test_special_registers_that_contradict_each_other_are_refused() -> None:
    with bare(HALT) as guest:
        special = guest.vcpu.special_registers
        with pytest.raises(KvmError) as caught:  # paging with no protection
            guest.vcpu.special_registers = special._replace(cr0=1 << 31)
        assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("name", STATES)
def test_every_state_can_be_got_and_set_again(name: str) -> None:
    with real_mode(HALT, irqchip=True) as guest:
        before = guest.vcpu.get_state(state(name))
        assert len(before) == lib.ringlet_vcpu_state_size(state(name))
        guest.vcpu.set_state(state(name), before)
        assert guest.vcpu.get_state(state(name)) == before


def test_xsave_holds_the_sse_registers() -> None:
    with bare(HALT) as guest:
        guest.vcpu.cpuid = guest.system.supported_cpuid
        data = bytearray(guest.vcpu.get_state(state("XSAVE")))
        data[160:176] = b"xmm0 has 16 byte"  # Intel SDM volume 1, table 10-2
        data[512] |= 3  # XSTATE_BV: x87 and SSE
        guest.vcpu.set_state(state("XSAVE"), bytes(data))
        assert guest.vcpu.get_state(state("XSAVE"))[160:176] == b"xmm0 has 16 byte"


def test_events_hold_the_nmi_mask() -> None:
    with real_mode(HALT) as guest:
        events = bytearray(guest.vcpu.get_state(state("EVENTS")))
        assert events[14] == 0
        events[14] = 1  # struct kvm_vcpu_events: nmi.masked
        guest.vcpu.set_state(state("EVENTS"), bytes(events))
        assert guest.vcpu.get_state(state("EVENTS"))[14] == 1


def test_the_local_apic_holds_its_task_priority() -> None:
    with real_mode(HALT, irqchip=True) as guest:
        lapic = bytearray(guest.vcpu.get_state(state("LAPIC")))
        lapic[0x80] = 0x50
        guest.vcpu.set_state(state("LAPIC"), bytes(lapic))
        assert guest.vcpu.get_state(state("LAPIC"))[0x80] == 0x50
        assert guest.vcpu.special_registers.cr8 == 5  # the same register (SDM volume 3, 11.8.6)


def test_a_local_apic_is_there_with_the_irqchip_alone() -> None:
    with real_mode(HALT) as guest, pytest.raises(KvmError, match="get a state"):
        guest.vcpu.get_state(state("LAPIC"))


@pytest.mark.parametrize("number", [-1, 8, 1 << 30])
def test_a_state_that_there_isnt_is_refused(number: int) -> None:
    with real_mode(HALT) as guest:
        with pytest.raises(KvmError) as caught:
            guest.vcpu.get_state(number)
        assert caught.value.errno == errno.EINVAL
        with pytest.raises(KvmError):
            guest.vcpu.set_state(number, b"")


@pytest.mark.parametrize("name", STATES)
def test_a_state_of_another_size_is_refused(name: str) -> None:
    with real_mode(HALT, irqchip=True) as guest:
        data = guest.vcpu.get_state(state(name))
        for wrong in (b"", data[:-1], data + b"\0"):
            with pytest.raises(KvmError) as caught:
                guest.vcpu.set_state(state(name), wrong)
            assert caught.value.errno == errno.EINVAL


def test_msrs_come_back_as_they_were_set() -> None:
    with bare(HALT) as guest:
        guest.vcpu.cpuid = guest.system.supported_cpuid
        values = {IA32_SYSENTER_EIP: 0x1234_5678, IA32_LSTAR: 0xFFFF_8000_0000_1000}
        assert guest.vcpu.set_msrs(values) == 2
        assert guest.vcpu.get_msrs(list(values)) == list(values.values())


def test_the_guest_reads_the_msr() -> None:
    # mov ecx, 0x176; rdmsr; out 0x80, eax
    code = b"\x66\xb9\x76\x01\x00\x00\x0f\x32\x66\xe7\x80"
    with real_mode(code) as guest:
        assert guest.vcpu.set_msrs({IA32_SYSENTER_EIP: 0xCAFE}) == 1
        assert guest.vcpu.run() == PortWrite(0x80, 4, 0xCAFE)


def test_msrs_stop_at_the_first_that_kvm_doesnt_know() -> None:
    with bare(HALT) as guest:
        assert guest.vcpu.set_msrs({IA32_SYSENTER_EIP: 7, NO_MSR: 1, IA32_LSTAR: 1}) == 1
        assert guest.vcpu.get_msrs([IA32_SYSENTER_EIP, NO_MSR, IA32_LSTAR]) == [7]
        assert guest.vcpu.get_msrs([]) == []
        assert guest.vcpu.set_msrs({}) == 0


def test_more_msrs_than_the_core_takes_at_once_are_refused() -> None:
    with bare(HALT) as guest:
        assert len(guest.vcpu.get_msrs([IA32_SYSENTER_EIP] * 255)) == 255
        for count in (256, 257):  # what KVM refuses, what the core does
            with pytest.raises(KvmError) as caught:
                guest.vcpu.get_msrs([IA32_SYSENTER_EIP] * count)
            assert caught.value.errno == errno.E2BIG
        with pytest.raises(KvmError):
            guest.vcpu.set_msrs({0xC000_0000 + i: 0 for i in range(257)})


def test_cpuid_comes_back_as_it_was_set() -> None:
    with bare(HALT) as guest:
        entries = for_vcpu(guest.system.supported_cpuid, 3)
        guest.vcpu.cpuid = entries
        after = guest.vcpu.cpuid
        assert len(after) == len(entries)
        assert after[:ENTRY_SIZE] == entries[:ENTRY_SIZE]


def test_the_guest_sees_its_cpuid() -> None:
    # mov eax, 1; cpuid; mov eax, ebx; out 0x80, eax
    code = b"\x66\xb8\x01\x00\x00\x00\x0f\xa2\x66\x89\xd8\x66\xe7\x80"
    with real_mode(code) as guest:
        guest.vcpu.cpuid = for_vcpu(guest.system.supported_cpuid, 5)
        exit = guest.vcpu.run()
        assert isinstance(exit, PortWrite)
        assert exit.value >> 24 == 5


def test_more_cpuid_entries_than_the_core_takes_are_refused() -> None:
    with bare(HALT) as guest:
        with pytest.raises(KvmError) as caught:
            guest.vcpu.cpuid = bytes(257 * ENTRY_SIZE)
        assert caught.value.errno == errno.E2BIG


def test_only_the_first_vcpu_runs_at_once() -> None:
    with bare(HALT, irqchip=True) as guest:
        second = guest.vm.create_vcpu()
        assert (guest.vcpu.mp_state, second.mp_state) == (MP_RUNNABLE, MP_UNINITIALIZED)
        assert (guest.vcpu.number, second.number) == (0, 1)
        second.mp_state = MP_HALTED
        assert second.mp_state == MP_HALTED


def test_a_runnable_second_vcpu_runs() -> None:
    with real_mode(b"\xe6\x80", irqchip=True) as guest:  # out 0x80, al
        second = guest.vm.create_vcpu()
        second.special_registers = guest.vcpu.special_registers
        second.registers = Registers(rax=0x22, rip=CODE)
        second.mp_state = MP_RUNNABLE
        assert second.run() == PortWrite(0x80, 1, 0x22)


def test_an_mp_state_that_there_isnt_is_refused() -> None:
    with bare(HALT, irqchip=True) as guest:
        with pytest.raises(KvmError) as caught:
            guest.vcpu.mp_state = 99
        assert caught.value.errno == errno.EINVAL


def test_linear_addresses_are_translated_by_the_guests_page_tables() -> None:
    with long_mode(LOOP) as guest:
        translate = guest.vcpu.translate
        assert translate(0x1234) == 0x1234
        assert translate((2 << 20) - 1) == (2 << 20) - 1
        assert translate(2 << 20) is None
        assert translate(1 << 40) is None
        assert translate((1 << 64) - 1) is None
        # The second 2 MiB are the first once more: present, writable, large.
        guest.memory.write(PAGE_TABLES + 0x2008, struct.pack("<Q", 0x83))
        assert translate((2 << 20) + 0x1234) == 0x1234


def test_without_paging_a_linear_address_is_the_physical_one() -> None:
    with real_mode(LOOP) as guest:
        assert guest.vcpu.translate(0x1234) == 0x1234


def test_the_guests_own_debug_registers_are_read_and_set() -> None:
    with long_mode(LOOP) as guest:
        assert guest.vcpu.debug_registers == DebugRegisters()
        own = DebugRegisters(dr0=0x1000, dr3=0x3000, dr7=0x402)
        guest.vcpu.debug_registers = own
        assert guest.vcpu.debug_registers == own


def test_a_closed_vcpu_does_nothing_more(no_leak: None) -> None:
    with real_mode(LOOP) as guest:
        guest.vcpu.close()
        guest.vcpu.close()
        with pytest.raises(KvmError) as caught:
            guest.vcpu.registers  # noqa: B018 (it raises)
        assert caught.value.errno == errno.EBADF


def test_a_vcpu_closed_while_its_read_waits_for_a_reply_takes_none() -> None:
    with real_mode(b"\xec") as guest:  # in al, dx
        guest.vcpu.run()
        guest.vcpu.close()
        assert type(guest.vcpu.run(1)).__name__ == "Error"


def test_shared_registers_are_those_of_the_last_exit() -> None:
    # in al, dx; inc ax; out dx, al
    with real_mode(b"\xec\x40\xee", Registers(rdx=0x510)) as guest:
        shared = guest.vcpu.share_registers()
        assert shared is not None
        for reply in (0, 0x41):
            guest.vcpu.run(reply)
            sizes = [lib.ringlet_vcpu_state_size(state(name)) for name in ("REGS", "SREGS")]
            assert len(shared) == sum(sizes)
            assert shared[: sizes[0]] == guest.vcpu.get_state(state("REGS"))
            assert shared[sizes[0] :] == guest.vcpu.get_state(state("SREGS"))
        assert Registers.unpack(shared[: sizes[0]].tobytes()).rax == 0x42


def test_a_closed_vcpu_shares_no_registers() -> None:
    with bare(HALT) as guest:
        guest.vcpu.close()
        with pytest.raises(KvmError) as refused:
            guest.vcpu.share_registers()
        assert refused.value.errno == errno.EBADF
