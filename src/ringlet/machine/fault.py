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

from ringlet.kvm.core import KvmError, lib
from ringlet.kvm.exceptions import error_code_words, has_error_code, vector_name
from ringlet.kvm.irqchip import read_local_apic
from ringlet.machine.assembly import bits_of, linear_rip, read_linear
from ringlet.machine.code_notes import NO_CODE, ZEROS, caller
from ringlet.machine.culprit import DOUBLE_FAULT, JUMPED, find_culprit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ringlet.boot.symbols import Symbols
    from ringlet.kvm.memory import GuestMemory
    from ringlet.kvm.registers import Registers, SpecialRegisters
    from ringlet.kvm.vcpu import Vcpu

_CR0_PE = 1
_MASK = 0xFFFF_FFFF_FFFF_FFFF
_RFLAGS_IF = 1 << 9
_INTERRUPT_VECTOR = 9  # its place in a struct kvm_vcpu_events
_GATE_PRESENT = 0x80
_RESET_RIP, _RESET_BASE = 0xFFF0, 0xFFFF_0000  # Intel SDM volume 3, table 9-1


class Fault(NamedTuple):
    """The exception that led to a triple fault.

    vector      None if nobody knows
    error_code  None if the exception has none, or if nobody knows
    certain     whether the vector is sure, and not inferred
    cause       what the instruction did, in words, with `; ` between two facts; or ""
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
                # Without NX, the error code of a page fault doesn't tell a jump from a read.
                jumped = self.cause.startswith(JUMPED)
                words = "" if jumped else error_code_words(self.vector, self.error_code)
                code = f", error code {self.error_code:#x}" + (f": {words}" if words else "")
            lines.append(f"the cause is {'' if self.certain else 'probably '}{self.name}{code}")
        causes = self.cause.split("; ") if self.cause else []
        return lines + causes + ([self.delivery] if self.delivery else [])

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
    rip = linear_rip(vcpu.registers, vcpu.special_registers)
    before = read_linear(vcpu, memory, (rip - ZEROS) & _MASK, ZEROS)
    zeros = "the memory before is all zeros" if before == bytes(ZEROS) else ""
    cause = _with(culprit.cause, zeros, caller(vcpu, memory, symbols))
    return Fault(None, None, True, cause, "")


def _with(*causes: str) -> str:
    return "; ".join(cause for cause in causes if cause)


def find_fault(vcpu: Vcpu, memory: GuestMemory, symbols: Symbols) -> Fault:
    """Returns what led `vcpu` to a shutdown. The vCPU must not run."""
    registers, special = vcpu.registers, vcpu.special_registers
    noted, code = _noted(vcpu)
    if registers_are_lost(registers, special):
        error_code = code if has_error_code(noted) and noted else None
        return Fault(noted or None, error_code, False, LOST, "")
    culprit = find_culprit(vcpu, memory)
    if culprit.vector is None and registers.rflags & _RFLAGS_IF:
        interrupt = _interrupt_without_handler(vcpu, memory, special)
        if interrupt is not None:
            return interrupt
    cause = culprit.cause
    if culprit.vector == noted or (culprit.vector is None and noted):
        vector: int | None = noted
        error_code = code if noted and has_error_code(noted) else None
        certain = culprit.certain or (noted != 0 and culprit.vector is not None)
    else:
        vector, error_code, certain = culprit.vector, culprit.error_code, culprit.certain
        if noted and vector is not None and not certain:
            vector, error_code, cause = noted, code if has_error_code(noted) else None, ""
    rip = linear_rip(registers, special)
    zeros = read_linear(vcpu, memory, rip, ZEROS)
    no_code = zeros == bytes(ZEROS)
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


def _interrupt_without_handler(
    vcpu: Vcpu, memory: GuestMemory, special: SpecialRegisters
) -> Fault | None:
    """Returns the interrupt that KVM gave to the vCPU last, if the interrupt has no handler."""
    events = vcpu.get_state(lib.RINGLET_STATE_EVENTS)
    try:
        in_service = read_local_apic(vcpu).in_service.bit_length() - 1
    except KvmError:  # this VM has no interrupt controllers
        in_service = -1
    vector = in_service if in_service > 0 else events[_INTERRUPT_VECTOR]
    delivery = _delivery(vcpu, memory, special, vector) if vector else ""
    if "no handler" not in delivery:
        return None
    return Fault(vector, None, in_service > 0, "", delivery)


def _delivery(vcpu: Vcpu, memory: GuestMemory, special: SpecialRegisters, vector: int) -> str:
    """Returns why the handler of `vector` didn't run, or ""."""
    if not special.cr0 & _CR0_PE:
        return ""
    size = 16 if bits_of(special) == 64 else 8
    idt = special.idt
    if idt.limit < size * vector + size - 1:
        return (
            f"the guest has no handler for it: the IDT at {idt.base:#x} with the limit "
            f"{idt.limit:#x} has no entry {vector:#x}"
        )
    gate = read_linear(vcpu, memory, idt.base + size * vector, size)
    if len(gate) < size:
        return f"the guest has no handler for it: the IDT at {idt.base:#x} isn't in mapped memory"
    if not gate[5] & _GATE_PRESENT:
        return f"the guest has no handler for it: entry {vector:#x} of the IDT isn't present"
    low, _, high, top = unpack_from("<HIHI", gate.ljust(16, b"\0"))
    handler = low | high << 16 | (top << 32 if size == 16 else 0)
    if vcpu.translate(handler) is None:
        return f"its handler at {handler:#x} isn't mapped"
    stack = _stack_of_handler(vcpu, memory, special)
    if stack is not None and vcpu.translate((stack - 1) & _MASK) is None:
        return (
            f"its handler at {handler:#x} can't be called: "
            f"the stack, which ends at {stack:#x}, isn't mapped"
        )
    return f"its handler is at {handler:#x}; the handler itself may have failed, too"


def _stack_of_handler(vcpu: Vcpu, memory: GuestMemory, special: SpecialRegisters) -> int | None:
    """Returns the stack pointer with which a handler in ring 0 begins; None if nobody knows.

    From ring 3, that is RSP0 of the TSS (Intel SDM volume 3, 6.14.2 and 7.7).
    """
    if bits_of(special) != 64:
        return None
    if special.ss.dpl == 0:
        return vcpu.registers.rsp
    saved = read_linear(vcpu, memory, special.tr.base + 4, 8)
    return int.from_bytes(saved, "little") if len(saved) == 8 else None
