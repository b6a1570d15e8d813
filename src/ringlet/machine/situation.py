"""What each vCPU of a guest does at one moment: for a guest that hangs, and for whoever asks.

vCPU 0: running, interrupts off, long mode, 64-bit code, ring 0
  at 0x100140, main: jmp 0x100140
  this code is a loop: it jumps to itself
  exits: 2 port, 3 port-string; the last access: a write of 1 byte to port 0xf4
"""

from __future__ import annotations

from typing import NamedTuple

from ringlet.kvm.irqchip import read_local_apic
from ringlet.kvm.vcpu import MP_HALTED, MP_INIT_RECEIVED, MP_UNINITIALIZED
from ringlet.machine.access import last_access
from ringlet.machine.assembly import bits_of, disassemble, linear_rip, read_linear
from ringlet.machine.code_notes import NO_CODE, caller, note_on
from ringlet.machine.interrupts import local_apic_trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from ringlet.board.board import Placed
    from ringlet.boot.symbols import Symbols
    from ringlet.kvm.memory import GuestMemory
    from ringlet.kvm.registers import SpecialRegisters
    from ringlet.kvm.vcpu import Vcpu
    from ringlet.machine.access import Access

MAX_GROUPS = 16  # of vCPUs that do the same, in lines for people
CODE = 128  # bytes of code that are looked at
RFLAGS_IF = 1 << 9
_CR0_PE, _CR0_PG = 1, 1 << 31
_EFER_LMA = 1 << 10


class VcpuStatus(NamedTuple):
    """What a vCPU does.

    activity     running, halted, or waiting to be started
    interrupts   whether the vCPU takes interrupts (RFLAGS.IF)
    mode         the processor's mode, the size of its code, and the ring
    rip          the linear address of the next instruction
    function     the function there, and the offset in the function; "" if nobody knows
    instruction  the next instruction, as assembly; "" if it can't be read
    note         what the code there tells, such as an endless loop; or ""
    cr2          the address of the last page fault; 0 before the first one
    exits        the number of exits of each kind
    access       the last access that made an exit, or None
    """

    number: int
    activity: str
    interrupts: bool
    mode: str
    rip: int
    function: str
    instruction: str
    note: str
    cr2: int
    exits: dict[str, int]
    access: Access | None

    @property
    def waits_for_interrupt(self) -> bool:
        """Whether the vCPU is halted and takes interrupts."""
        return self.activity == HALTED and self.interrupts

    def lines(self) -> Iterator[str]:
        """Yields lines for people, without the number of the vCPU."""
        if self.activity == WAITING:
            yield f"{self.activity} by another vCPU"
            return
        yield f"{self.activity}, interrupts {'on' if self.interrupts else 'off'}, {self.mode}"
        where = f"at {self.rip:#x}" + (f", {self.function}" if self.function else "")
        yield f"{where}: {self.instruction or 'the code there is not readable'}"
        if self.note:
            yield self.note
        if self.waits_for_interrupt:
            yield "it waits for an interrupt"
        if self.cr2:
            yield f"the last page fault was at {self.cr2:#x}"

    def exits_line(self) -> str:
        """Returns the exits by kind, and the last access, as a line for people."""
        counts = [f"{count} {kind}" for kind, count in self.exits.items() if kind != "interrupted"]
        exits = f"exits: {', '.join(counts) or 'none'}"
        return exits if self.access is None else f"{exits}; the last access: {self.access}"

    def as_json(self) -> dict[str, Any]:
        """Returns the status as data for JSON; addresses are hexadecimal numbers."""
        return self._asdict() | {
            "rip": hex(self.rip),
            "cr2": hex(self.cr2),
            "access": None if self.access is None else self.access.as_json(),
        }


RUNNING, HALTED, WAITING = "running", "halted", "waiting to be started"
_ACTIVITIES = {MP_HALTED: HALTED, MP_UNINITIALIZED: WAITING, MP_INIT_RECEIVED: WAITING}


class Situation(NamedTuple):
    """What all vCPUs do, and what is wrong with the interrupts: `interrupts` has a line for each.

    `missing` is the number of vCPUs that didn't answer, because they wait for the host.
    """

    vcpus: list[VcpuStatus]
    interrupts: list[str]
    missing: int = 0

    def lines(self) -> list[str]:
        """Returns lines for people; vCPUs that do the same share their lines."""
        groups: dict[tuple[str, ...], list[VcpuStatus]] = {}
        for status in self.vcpus:
            groups.setdefault(tuple(status.lines()), []).append(status)
        lines = []
        for (first, *more), members in list(groups.items())[:MAX_GROUPS]:
            if len(members) == 1 and members[0].activity != WAITING:
                more.append(members[0].exits_line())
            lines.append(f"vCPU {_ranges([status.number for status in members])}: {first}")
            lines += [f"  {line}" for line in more]
        if len(groups) > MAX_GROUPS:
            lines.append(f"{sum(map(len, list(groups.values())[MAX_GROUPS:]))} more vCPUs")
        if self.missing:
            many = self.missing > 1
            lines.append(
                f"{self.missing} vCPU{'s' if many else ''} do{'' if many else 'es'}n't answer: "
                f"{'they wait' if many else 'it waits'} for the host"
            )
        return lines + self.interrupts

    def text(self) -> bytes:
        """Returns the lines as a terminal in raw mode wants them."""
        return b"".join(f"{line}\r\n".encode() for line in ["", *self.lines()])

    def as_json(self) -> dict[str, Any]:
        """Returns the situation as data for JSON."""
        return {
            "vcpus": [status.as_json() for status in self.vcpus],
            "interrupts": self.interrupts,
        }


def examine_vcpu(
    vcpu: Vcpu, memory: GuestMemory, symbols: Symbols, devices: Iterable[Placed]
) -> VcpuStatus:
    """Returns what `vcpu` does. Call this on the vCPU's thread, or after the run."""
    registers, special = vcpu.registers, vcpu.special_registers
    bits, rip = bits_of(special), linear_rip(registers, special)
    code = read_linear(vcpu, memory, rip, CODE)
    instructions = disassemble(code, registers.rip, bits, CODE)
    note = note_on(code, instructions)
    if note == NO_CODE and (origin := caller(vcpu, memory, symbols)):
        note += f"; {origin}"
    if vcpu.mp_state == MP_HALTED:
        note = local_apic_trouble(read_local_apic(vcpu))
    return VcpuStatus(
        vcpu.number,
        _ACTIVITIES.get(vcpu.mp_state, RUNNING),
        bool(registers.rflags & RFLAGS_IF),
        mode_of(special),
        rip,
        symbols.describe(rip),
        instructions[0].text if instructions else "",
        note,
        special.cr2 if special.cr0 & _CR0_PG else 0,
        vcpu.exits,
        last_access(vcpu, devices),
    )


def mode_of(special: SpecialRegisters) -> str:
    """Returns the processor's mode in words (Intel SDM volume 3, 2.2)."""
    if not special.cr0 & _CR0_PE:
        return "real mode"
    mode = "long" if special.efer & _EFER_LMA else "protected"
    return f"{mode} mode, {bits_of(special)}-bit code, ring {special.ss.dpl}"


def _ranges(numbers: Sequence[int]) -> str:
    """Returns ascending numbers in words: `0, 2 to 5`."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1] = [ranges[-1][0], number]
        else:
            ranges.append([number])
    return ", ".join(" to ".join(map(str, part)) for part in ranges)
