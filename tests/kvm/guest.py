"""A VM of a few pages that runs a test's own machine code."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ringlet.kvm.memory import GuestMemory, anonymous
from ringlet.kvm.registers import (
    DescriptorTable,
    Registers,
    SpecialRegisters,
    code_segment,
    data_segment,
)
from ringlet.kvm.system import System
from ringlet.kvm.vcpu import Vcpu
from ringlet.kvm.vm import Vm

TSS = 0xFFFB_D000
MEMORY = 0x10000
CODE = 0x1000
STACK = 0x8000
PAGE_TABLES = 0xA000  # of long mode: PML4, page directory pointers, page directory
MMIO_SEGMENT = 0xA000  # ES in real mode
MMIO = 0xA0000  # no memory is there
LOOP = b"\xeb\xfe"  # jmp $

CR0_PE, CR0_PG = 1, 1 << 31
CR4_PAE = 1 << 5
EFER_LME, EFER_LMA = 1 << 8, 1 << 10
PAGE_PRESENT, PAGE_WRITABLE, PAGE_LARGE = 1, 2, 1 << 7


class Guest(NamedTuple):
    system: System
    memory: GuestMemory
    vm: Vm
    vcpu: Vcpu

    def enter_at(self, address: int) -> None:
        self.vcpu.registers = self.vcpu.registers._replace(rip=address)


@contextmanager
def bare(
    code: bytes, *, irqchip: bool = False, memory: GuestMemory | None = None
) -> Iterator[Guest]:
    """`code` at CODE, in a vCPU that is as KVM made it."""
    with (
        System() as system,
        memory or GuestMemory([anonymous(0, MEMORY)]) as memory,
        Vm(system) as vm,
    ):
        vm.set_tss_address(TSS)
        vm.map_memory(memory)
        if irqchip:
            vm.create_irqchip()
        memory.write(CODE, code)
        yield Guest(system, memory, vm, vm.create_vcpu())


@contextmanager
def real_mode(
    code: bytes,
    registers: Registers = Registers(),  # noqa: B008 (a value)
    *,
    irqchip: bool = False,
    memory: GuestMemory | None = None,
) -> Iterator[Guest]:
    """`code` in 16-bit real mode. ES is at MMIO, the other segments are 0."""
    with bare(code, irqchip=irqchip, memory=memory) as guest:
        data = data_segment(0, limit=0xFFFF, bits=16)
        guest.vcpu.special_registers = guest.vcpu.special_registers._replace(
            cs=code_segment(0, limit=0xFFFF, bits=16),
            ds=data,
            ss=data,
            es=data._replace(base=MMIO, selector=MMIO_SEGMENT),
            idt=DescriptorTable(0, 0x3FF),
        )
        guest.vcpu.registers = registers._replace(rip=CODE, rsp=STACK)
        yield guest


def long_mode_registers(special: SpecialRegisters) -> SpecialRegisters:
    """Flat ring 0, and paging by the tables at PAGE_TABLES."""
    data = data_segment(0x10, bits=64)
    return special._replace(
        cs=code_segment(8, bits=64),
        ds=data,
        es=data,
        ss=data,
        cr0=special.cr0 | CR0_PE | CR0_PG,
        cr3=PAGE_TABLES,
        cr4=special.cr4 | CR4_PAE,
        efer=EFER_LME | EFER_LMA,
    )


@contextmanager
def long_mode(
    code: bytes,
    registers: Registers = Registers(),  # noqa: B008 (a value)
    *,
    irqchip: bool = False,
) -> Iterator[Guest]:
    """`code` in 64-bit mode, where the first 2 MiB are at their own addresses, and nothing else."""
    with bare(code, irqchip=irqchip) as guest:
        for table, entry in enumerate((PAGE_TABLES + 0x1000, PAGE_TABLES + 0x2000, PAGE_LARGE)):
            flags = PAGE_PRESENT | PAGE_WRITABLE
            guest.memory.write(PAGE_TABLES + 0x1000 * table, (entry | flags).to_bytes(8, "little"))
        vcpu = guest.vcpu
        vcpu.cpuid = guest.system.supported_cpuid
        vcpu.special_registers = long_mode_registers(vcpu.special_registers)
        vcpu.registers = registers._replace(rip=CODE, rsp=STACK)
        yield guest
