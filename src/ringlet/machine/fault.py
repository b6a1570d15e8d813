"""Why a guest's vCPU crashed: the exception that led to a triple fault, and why no handler ran.

KVM keeps the vector and the error code of the last exception that KVM itself raised. The
instruction at RIP, the registers and the page tables tell the rest: this file looks for the
exception that this instruction raises. What both say is certain; what one of them says is probable.

Source: Intel SDM volume 3, 6.12 and 6.14 (how an exception reaches its handler), 6.15 (the
exceptions); Linux, struct kvm_vcpu_events.
"""

from __future__ import annotations

from struct import unpack_from
from typing import NamedTuple

from ringlet.kvm.core import lib
from ringlet.kvm.exceptions import error_code_words, has_error_code, vector_name
from ringlet.machine.assembly import bits_of, linear_rip, read_linear
from ringlet.machine.code_notes import NO_CODE, ZEROS, caller
from ringlet.machine.culprit import DOUBLE_FAULT, find_culprit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ringlet.boot.symbols import Symbols
    from ringlet.kvm.memory import GuestMemory
    from ringlet.kvm.registers import Registers, SpecialRegisters
    from ringlet.kvm.vcpu import Vcpu

_CR0_PE = 1
_GATE_PRESENT = 0x80
_RESET_RIP, _RESET_BASE = 0xFFF0, 0xFFFF_0000  # Intel SDM volume 3, table 9-1


class Fault(NamedTuple):
    """The exception that led to a triple fault.

    vector      None if nobody knows
    error_code  None if the exception has none, or if nobody knows
    certain     whether the vector is sure, and not inferred
    cause       what the instruction did, in words; or ""
    delivery    why the exception reached no handler, in words; or ""
    """

    vector: int | None
    error_code: int | None
    certain: bool
    cause: str
    delivery: str

    @property
    def name(self) -> str:
        """The exception in words, such as "#PF, page fault"; "" if nobody knows."""
        return "" if self.vector is None else vector_name(self.vector)

    def lines(self) -> list[str]:
        """Returns lines for people."""
        lines = []
        if self.vector is not None:
            code = ""
            if self.error_code is not None:
                words = error_code_words(self.vector, self.error_code)
                code = f", error code {self.error_code:#x}" + (f": {words}" if words else "")
            lines.append(f"{'exception' if self.certain else 'probably'} {self.name}{code}")
        return lines + [line for line in (self.cause, self.delivery) if line]

    def as_json(self) -> dict[str, Any]:
        """Returns the fault as data for JSON."""
        return self._asdict() | {"name": self.name}


def registers_are_lost(registers: Registers, special: SpecialRegisters) -> bool:
    """Returns whether the registers are those of a reset.

    kvm-amd initializes a vCPU after a shutdown, as the processor's manual leaves it open (AMD APM
    volume 2, 15.14.3).
    """
    return registers.rip == _RESET_RIP and special.cs.base == _RESET_BASE


LOST = (
    "KVM has set the registers to those of a reset, as it does on AMD's processors: "
    "where the guest was is not known"
)


def find_emulation_fault(
    vcpu: Vcpu, memory: GuestMemory, symbols: Symbols, instruction: str
) -> Fault | None:
    """Returns what the guest did wrong at an instruction that KVM can't emulate; None if nothing.

    KVM can't read an instruction where no RAM is. A software KVM doesn't know `int`, whose vector
    may have no handler either.
    """
    name, _, operand = instruction.partition(" ")
    if name == "int":
        delivery = _delivery(vcpu, memory, vcpu.special_registers, int(operand, 0))
        return Fault(None, None, False, "", delivery) if "no handler" in delivery else None
    culprit = find_culprit(vcpu, memory)
    if not culprit.is_jump:
        return None
    return Fault(None, None, True, _with(culprit.cause, caller(vcpu, memory, symbols)), "")


def _with(*causes: str) -> str:
    return "; ".join(cause for cause in causes if cause)


def find_fault(vcpu: Vcpu, memory: GuestMemory, symbols: Symbols) -> Fault:
    """Returns what led `vcpu` to a shutdown. The vCPU must not run."""
    registers, special = vcpu.registers, vcpu.special_registers
    noted, code = _noted(vcpu)
    if registers_are_lost(registers, special):
        return Fault(noted or None, code if noted else None, False, LOST, "")
    culprit = find_culprit(vcpu, memory)
    cause = culprit.cause
    if culprit.vector == noted or (culprit.vector is None and noted):
        vector: int | None = noted
        error_code = code if noted and has_error_code(noted) else None
        certain = culprit.vector is not None
    else:
        vector, error_code, certain = culprit.vector, culprit.error_code, culprit.certain
        if noted and vector is not None and not certain:
            vector, error_code, cause = noted, code if has_error_code(noted) else None, ""
    rip = linear_rip(registers, special)
    zeros = read_linear(vcpu, memory, rip, ZEROS)
    no_code = len(zeros) == ZEROS and not any(zeros)
    if no_code:
        cause = _with(cause, NO_CODE)
    if no_code or culprit.is_jump:
        cause = _with(cause, caller(vcpu, memory, symbols))
    delivery = "" if vector is None else _delivery(vcpu, memory, special, vector)
    return Fault(vector, error_code, certain, cause, delivery)


def _noted(vcpu: Vcpu) -> tuple[int, int]:
    """Returns the vector and the error code of the last exception that KVM raised; 0 for none.

    A double fault is only a consequence of the exception that this file looks for.
    """
    events = vcpu.get_state(lib.RINGLET_STATE_EVENTS)
    vector, error_code = unpack_from("<xBxxI", events)
    return (0, 0) if vector == DOUBLE_FAULT else (vector, error_code)


def _delivery(vcpu: Vcpu, memory: GuestMemory, special: SpecialRegisters, vector: int) -> str:
    """Returns why the handler of `vector` didn't run, or ""."""
    if not special.cr0 & _CR0_PE:
        return ""
    size = 16 if bits_of(special) == 64 else 8
    idt = special.idt
    if idt.limit < size * vector + size - 1:
        return (
            f"the guest has no handler for it: the IDT at {idt.base:#x} with the limit "
            f"{idt.limit:#x} has no entry {vector}"
        )
    gate = read_linear(vcpu, memory, idt.base + size * vector, size)
    if len(gate) < size:
        return f"the guest has no handler for it: the IDT at {idt.base:#x} isn't in mapped memory"
    if not gate[5] & _GATE_PRESENT:
        return f"the guest has no handler for it: entry {vector} of the IDT isn't present"
    low, _, high, top = unpack_from("<HIHI", gate.ljust(16, b"\0"))
    handler = low | high << 16 | (top << 32 if size == 16 else 0)
    if vcpu.translate(handler) is None:
        return f"its handler at {handler:#x} isn't mapped"
    return f"its handler is at {handler:#x}; the stack, or the handler itself, has failed, too"
