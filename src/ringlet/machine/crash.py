"""The state of a crashed guest: its registers, and the instruction at RIP as assembly."""

from __future__ import annotations

from typing import NamedTuple

from ringlet.boot.symbols import Symbols
from ringlet.kvm.exits import EMULATION_FAILURE, InternalError, Shutdown
from ringlet.machine.assembly import (
    MAX_INSTRUCTION,
    NO_INSTRUCTION,
    bits_of,
    disassemble,
    linear_rip,
    read_linear,
)
from ringlet.machine.fault import find_emulation_fault, find_fault, registers_are_lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ringlet.kvm.exits import Exit
    from ringlet.kvm.memory import GuestMemory
    from ringlet.kvm.registers import Registers, Segment, SpecialRegisters
    from ringlet.kvm.vcpu import Vcpu
    from ringlet.machine.fault import Fault


class Crash(NamedTuple):
    """The last state of a guest's vCPU.

    code          the bytes at RIP; empty if they can't be read
    instruction   the instruction at RIP, as assembly
    kvm           KVM's report of the crash; empty for a triple fault
    not_emulated  whether the crash is that KVM can't emulate `instruction`
    function      the function at RIP, and the offset in the function; "" if nobody knows
    fault         what the guest did, and the exception that led to a triple fault; None if nobody
                  knows
    """

    registers: Registers
    special: SpecialRegisters
    code: bytes
    instruction: str
    kvm: str
    not_emulated: bool
    function: str = ""
    fault: Fault | None = None

    @property
    def registers_are_lost(self) -> bool:
        """Whether the registers are those of a reset, and say nothing about the crash."""
        return self.fault is not None and registers_are_lost(self.registers, self.special)

    @property
    def linear_rip(self) -> int:
        """The linear address of RIP: RIP plus the base of CS."""
        return linear_rip(self.registers, self.special)

    def lines(self) -> list[str]:
        """Returns lines for people: the exception, the registers, and the instruction."""
        cause = [] if self.fault is None else self.fault.lines()
        return cause if self.registers_are_lost else [*cause, *self._register_lines()]

    def _register_lines(self) -> list[str]:
        r, s = self.registers, self.special
        rows = [
            f"rip {r.rip:016x}  rflags {r.rflags:016x}  cs {_show(s.cs)}  ss {_show(s.ss)}",
            f"rax {r.rax:016x}  rbx {r.rbx:016x}  rcx {r.rcx:016x}  rdx {r.rdx:016x}",
            f"rsi {r.rsi:016x}  rdi {r.rdi:016x}  rbp {r.rbp:016x}  rsp {r.rsp:016x}",
            f"r8  {r.r8:016x}  r9  {r.r9:016x}  r10 {r.r10:016x}  r11 {r.r11:016x}",
            f"r12 {r.r12:016x}  r13 {r.r13:016x}  r14 {r.r14:016x}  r15 {r.r15:016x}",
            f"cr0 {s.cr0:016x}  cr2 {s.cr2:016x}  cr3 {s.cr3:016x}  cr4 {s.cr4:016x}",
            f"efer {s.efer:x}  gdt {s.gdt.base:x}+{s.gdt.limit:x}  idt {s.idt.base:x}+"
            f"{s.idt.limit:x}",
        ]
        code = self.code.hex(" ") or "not readable"
        where = f" ({self.function})" if self.function else ""
        rows.append(f"at rip{where}: {code}: {self.instruction}")
        return [*rows, self.kvm] if self.kvm else rows

    def as_json(self) -> dict[str, Any]:
        """Returns the crash as data for JSON; registers are hexadecimal numbers."""
        special = self.special._asdict()
        control = {name: hex(special[name]) for name in ("cr0", "cr2", "cr3", "cr4", "efer")}
        return {
            "registers": {name: hex(value) for name, value in self.registers._asdict().items()},
            "control_registers": control,
            "linear_rip": hex(self.linear_rip),
            "code": self.code.hex(),
            "instruction": self.instruction,
            "function": self.function,
            "fault": None if self.fault is None else self.fault.as_json(),
            "registers_are_lost": self.registers_are_lost,
            "kvm": self.kvm,
        }


def _show(segment: Segment) -> str:
    return f"{segment.selector:04x} ({segment.base:x}+{segment.limit:x})"


def examine(vcpu: Vcpu, memory: GuestMemory, exit: Exit, symbols: Symbols | None = None) -> Crash:
    """Returns the state of a vCPU whose last exit is `exit`."""
    symbols = Symbols() if symbols is None else symbols
    registers, special = vcpu.registers, vcpu.special_registers
    code = exit.instruction if isinstance(exit, InternalError) else b""
    linear = linear_rip(registers, special)
    code = code or read_linear(vcpu, memory, linear, MAX_INSTRUCTION)
    failed = isinstance(exit, InternalError) and exit.suberror == EMULATION_FAILURE
    found = disassemble(code, registers.rip, bits_of(special), 1)
    instruction = found[0].text if found else NO_INSTRUCTION
    if isinstance(exit, Shutdown):
        fault: Fault | None = find_fault(vcpu, memory, symbols)
    else:
        fault = find_emulation_fault(vcpu, memory, symbols, instruction) if failed else None
    return Crash(
        registers,
        special,
        code,
        instruction,
        "" if isinstance(exit, Shutdown) else f"KVM: {exit}",
        failed and bool(code),
        symbols.describe(linear),
        fault,
    )
