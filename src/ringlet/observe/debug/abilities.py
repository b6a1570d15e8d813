"""Finds out how this host's KVM can debug a guest, by trying it.

Hardware KVM can do all. A KVM that emulates ring 0 may have single steps and hardware breakpoints
in ring 0 only, and no watchpoints. An emulated processor with a KVM may have single steps alone.
What works is found by a VM of a few vCPUs, each with a few instructions of its own; that takes some
milliseconds.

Source: Linux, Documentation/virt/kvm/api.rst, 4.87 (KVM_SET_GUEST_DEBUG); Intel SDM volume 3, 18.2.
"""

from __future__ import annotations

from functools import cache
from time import monotonic
from typing import NamedTuple

from ringlet.board.layout import TSS
from ringlet.kvm.core import KvmError, lib
from ringlet.kvm.memory import GuestMemory, anonymous
from ringlet.kvm.registers import Registers, code_segment, data_segment
from ringlet.kvm.system import System
from ringlet.kvm.vcpu import (
    DEBUG_BLOCK_INTERRUPTS,
    DEBUG_ENABLE,
    DEBUG_HARDWARE,
    DEBUG_SOFTWARE,
    DEBUG_STEP,
    KIND_SHIFT,
)
from ringlet.kvm.vm import Vm
from ringlet.observe.debug.debug_registers import EXECUTE, WRITE, Watch, control_word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.kvm.registers import SpecialRegisters
    from ringlet.kvm.vcpu import Vcpu

KVM_CAP_SET_GUEST_DEBUG2 = 195

_TABLES = 0x1000  # page tables: three pages, which map the first 2 MiB, also for ring 3
_CODE = 0x4000
_DATA = 0x5000
_SIZE = 0x6000
_PATIENCE = 1.0  # seconds, for a guest of some instructions
_BREAK = _CODE + 2
_TRAP = _CODE + 11
# nop; nop; mov [_DATA], rax; nop; int3; then the guest's end, whatever the ring
_PROGRAM = b"\x90\x90\x48\x89\x04\x25" + _DATA.to_bytes(4, "little") + b"\x90\xcc\x0f\x0b"


class Abilities(NamedTuple):
    """What KVM can do to debug a guest, in ring 0 and in ring 3.

    step              single steps
    execute           hardware breakpoints: a debug register holds the address
    watch             watchpoints: a debug register holds the address of data
    trap              KVM tells of an `int3` in the guest's code
    block_interrupts  a single step can keep interrupts away
    """

    step: bool
    execute: bool
    watch: bool
    trap: bool
    step_ring_3: bool
    execute_ring_3: bool
    watch_ring_3: bool
    trap_ring_3: bool
    block_interrupts: bool


@cache  # the answer doesn't change while the host runs
def find_abilities() -> Abilities:
    """Tries what this host's KVM can do. Raises `KvmError` if there is no KVM."""
    with System() as system, GuestMemory([anonymous(0, _SIZE)]) as memory, Vm(system) as vm:
        supported = system.check_extension(KVM_CAP_SET_GUEST_DEBUG2)
        vm.set_tss_address(TSS)
        vm.map_memory(memory)
        for table, entry in enumerate((_TABLES + 0x1000, _TABLES + 0x2000, 0x80)):
            memory.write(_TABLES + 0x1000 * table, (entry | 7).to_bytes(8, "little"))
        memory.write(_CODE, _PROGRAM)
        found = [_try_ring(system, vm, ring) for ring in (0, 3)]
    return Abilities(*found[0], *found[1], bool(supported & DEBUG_BLOCK_INTERRUPTS))


def _try_ring(system: System, vm: Vm, ring: int) -> tuple[bool, bool, bool, bool]:
    def attempt(control: int, watch: Watch | None = None, start: int = _CODE) -> tuple[int, int]:
        vcpu = _vcpu(system, vm, ring, start)
        try:
            vcpu.guest_debug(DEBUG_ENABLE | control, control_word([watch] if watch else []))
        except KvmError:
            return -1, 0
        kind = _run(vcpu)
        return kind, vcpu.registers.rip

    debug = lib.RINGLET_EXIT_DEBUG
    step = attempt(DEBUG_STEP) == (debug, _CODE + 1)
    execute = attempt(DEBUG_HARDWARE, Watch(_BREAK, 1, EXECUTE)) == (debug, _BREAK)
    watch = attempt(DEBUG_HARDWARE, Watch(_DATA, 8, WRITE)) == (debug, _TRAP - 1)
    trap = attempt(DEBUG_SOFTWARE, start=_TRAP) == (debug, _TRAP)
    return step, execute, watch, trap


def _vcpu(system: System, vm: Vm, ring: int, start: int) -> Vcpu:
    vcpu = vm.create_vcpu()
    vcpu.cpuid = system.supported_cpuid
    vcpu.special_registers = _long_mode(vcpu.special_registers, ring)
    vcpu.registers = Registers(rip=start, rsp=_SIZE)
    return vcpu


def _long_mode(special: SpecialRegisters, ring: int) -> SpecialRegisters:
    code = code_segment(8 | ring, bits=64)._replace(dpl=ring)
    data = data_segment(0x10 | ring, bits=64)._replace(dpl=ring)
    return special._replace(
        cs=code,
        ds=data,
        es=data,
        ss=data,
        cr0=special.cr0 | 1 | 1 << 31,  # PE, PG
        cr3=_TABLES,
        cr4=special.cr4 | 1 << 5,  # PAE
        efer=1 << 8 | 1 << 10,  # LME, LMA
    )


def _run(vcpu: Vcpu) -> int:
    """Runs to the first exit that isn't a signal's, and returns its kind."""
    end = monotonic() + _PATIENCE
    vcpu.tick(_PATIENCE)
    try:
        while (kind := vcpu.enter(0) >> KIND_SHIFT) == lib.RINGLET_EXIT_INTERRUPTED:
            if monotonic() >= end:
                break
    finally:
        vcpu.tick(0)
    return kind
