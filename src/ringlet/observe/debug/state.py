"""The registers of a vCPU at a stop, and what they say in words.

Source: Intel SDM volume 3, 2.2 (modes of operation), 5.5 (privilege levels).
"""

from __future__ import annotations

from ringlet.machine.assembly import bits_of, linear_rip
from ringlet.observe.debug.paging import CR0_PG, EFER_LMA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from ringlet.kvm.registers import Registers, SpecialRegisters
    from ringlet.observe.debug.debugger import Debugger
else:
    from ringlet.host.named_tuple import NamedTuple

CR0_PE = 1
RFLAGS_VM = 1 << 17


class State(NamedTuple):
    """The registers of one vCPU at a stop."""

    vcpu: int
    registers: Registers
    special: SpecialRegisters

    @classmethod
    def of(cls, debugger: Debugger, vcpu: int) -> State:
        """Returns the registers of a vCPU. Raises `RingletError` unless the guest stands still."""
        return cls(vcpu, debugger.registers(vcpu), debugger.special_registers(vcpu))

    @property
    def address(self) -> int:
        """The linear address of the next instruction."""
        return linear_rip(self.registers, self.special)

    @property
    def ring(self) -> int:
        """The ring of the vCPU; 0 in real mode, which has no rings."""
        return self.special.ss.dpl if self.special.cr0 & CR0_PE else 0

    @property
    def mode(self) -> str:
        """The mode of the vCPU in words, such as "64-bit mode, ring 3"."""
        special = self.special
        if not special.cr0 & CR0_PE:
            return "16-bit real mode" if not special.cs.db else "32-bit real mode"
        if self.registers.rflags & RFLAGS_VM:
            return "virtual-8086 mode, ring 3"
        bits = bits_of(special)
        if bits == 64:
            name = "64-bit mode"
        elif special.efer & EFER_LMA:
            name = f"{bits}-bit compatibility mode"
        else:
            paging = "" if special.cr0 & CR0_PG else " without paging"
            name = f"{bits}-bit protected mode{paging}"
        return f"{name}, ring {self.ring}"
