"""The first access that no device claims, with the instruction that made the access.

KVM reports an access either before or after it counts the instruction as done: RIP is at the
instruction, or behind the instruction. The processor's instructions have different lengths, so
this file finds the instruction before RIP by a vote: it disassembles from each of the bytes before
RIP on, and counts which last instruction ends at RIP.
"""

from __future__ import annotations

from collections import Counter

from ringlet.machine.access import find_access
from ringlet.machine.assembly import (
    MAX_INSTRUCTION,
    bits_of,
    disassemble,
    linear_rip,
    read_linear,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    from ringlet.boot.symbols import Symbols
    from ringlet.kvm.memory import GuestMemory
    from ringlet.kvm.vcpu import Vcpu
    from ringlet.machine.access import Access
    from ringlet.machine.assembly import Instruction
else:
    from ringlet.host.named_tuple import NamedTuple

_BEFORE = 48  # bytes before RIP that vote
_PAGE = 0x1000
_IN, _OUT = ("in", "insb", "insw", "insd"), ("out", "outsb", "outsw", "outsd")
_POINTERS = {1: " byte ptr", 2: " word ptr", 4: " dword ptr", 8: " qword ptr"}


class UnclaimedAccess(NamedTuple):
    """An access that no device claims.

    rip     the linear address of the instruction that KVM shows, or of the next one
    bits    the size of the code: 16, 32 or 64 bits
    before  the bytes before `rip`
    code    the bytes from `rip` on
    """

    access: Access
    vcpu: int
    rip: int
    bits: int
    before: bytes
    code: bytes
    symbols: Symbols | None = None

    @property
    def instruction(self) -> Instruction | None:
        """The instruction that made the access; None if the code doesn't tell."""
        votes: Counter[Instruction] = Counter()
        for start in range(len(self.before)):
            address = self.rip - len(self.before) + start
            found = disassemble(self.before[start:], address, self.bits, _BEFORE)
            if _fits(found[-1], self.access):
                votes[found[-1]] += 1
        here = disassemble(self.code, self.rip, self.bits, 1)
        fits_here = bool(here) and _fits(here[0], self.access)
        # A read is done only after its answer, so RIP can't be behind it.
        if fits_here and (not self.access.is_write or not votes):
            return here[0]
        return votes.most_common(1)[0][0] if votes and self.access.is_write else None

    def __str__(self) -> str:
        found = self.instruction
        by = "" if found is None else f", by `{found.text}`"
        address = self.rip if found is None else found.address
        function = self._function(address)
        return f"{self.access}{by} at {address:#x}" + (f", {function}" if function else "")

    def _function(self, address: int) -> str:
        return "" if self.symbols is None else self.symbols.describe(address)

    def as_json(self) -> dict[str, Any]:
        """Returns the access as data for JSON; addresses are hexadecimal numbers."""
        found = self.instruction
        address = self.rip if found is None else found.address
        return self.access.as_json() | {
            "vcpu": self.vcpu,
            "rip": hex(address),
            "function": self._function(address),
            "instruction": "" if found is None else found.text,
        }


def note_unclaimed(
    vcpu: Vcpu,
    memory: GuestMemory,
    address: int,
    size: int,
    value: int | None,
) -> UnclaimedAccess:
    """Returns the access under way of `vcpu`, on the vCPU's thread; `value` is None for a read."""
    special = vcpu.special_registers
    rip = linear_rip(vcpu.registers, special)
    before = b""
    for count in (_BEFORE, rip % _PAGE):  # the page before may not be mapped
        if len(before) < min(count, _BEFORE):
            before = read_linear(vcpu, memory, rip - count, count)[-_BEFORE:]
            before = before if len(before) == min(count, _BEFORE) else b""
    code = read_linear(vcpu, memory, rip, MAX_INSTRUCTION)
    access = find_access((), address, size, is_write=value is not None, value=value)
    return UnclaimedAccess(access, vcpu.number, rip, bits_of(special), before, code)


def _fits(instruction: Instruction, access: Access) -> bool:
    """Returns whether the instruction may make this access."""
    if access.is_port:
        name = instruction.text.removeprefix("rep ").split(" ")[0]
        return name in (_OUT if access.is_write else _IN)
    return f"{_POINTERS.get(access.size, 'ptr')} [" in f" {instruction.text}"
