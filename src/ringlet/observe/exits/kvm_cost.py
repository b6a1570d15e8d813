"""Measures what an exit costs on this host, and where this host's KVM leaves RIP."""

from __future__ import annotations

from time import monotonic_ns
from typing import NamedTuple

from ringlet.board import layout
from ringlet.kvm.memory import PAGE, GuestMemory, anonymous
from ringlet.kvm.registers import Registers, code_segment
from ringlet.kvm.system import System
from ringlet.kvm.vm import Vm

_EXITS = 300
_OUT = b"\xe6\x80"  # out 0x80, al
_CODE = _OUT + b"\xeb\xfc"  # and a jump back


class KvmCost(NamedTuple):
    """What was measured.

    nanoseconds  of the fastest round trip from the guest to ringlet and back
    behind       whether RIP points behind an `out` instruction that caused an exit
    """

    nanoseconds: int
    behind: bool


def measure() -> KvmCost:
    """Runs a guest of two instructions, for some milliseconds. Raises `KvmError`."""
    with System() as system, GuestMemory([anonymous(0, PAGE)]) as memory, Vm(system) as vm:
        vm.set_tss_address(layout.TSS)
        vm.map_memory(memory)
        memory.write(0, _CODE)
        vcpu = vm.create_vcpu()
        special = vcpu.special_registers
        vcpu.special_registers = special._replace(cs=code_segment(0, limit=0xFFFF, bits=16))
        vcpu.registers = Registers(rip=0)
        enter = vcpu.enter
        enter(0)
        behind = vcpu.registers.rip == len(_OUT)
        fastest = 1 << 62
        for _ in range(_EXITS):
            begin = monotonic_ns()
            enter(0)
            fastest = min(fastest, monotonic_ns() - begin)
        return KvmCost(fastest, behind)
