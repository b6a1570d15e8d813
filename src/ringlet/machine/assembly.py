"""The guest's code as assembly: reads code at a linear address, and disassembles code.

Source: Intel SDM volume 2, chapter 2 (the format of instructions) and volume 3, 3.4.5 (the D and
L bits of a code segment).
"""

from __future__ import annotations

from ringlet.kvm.memory import GuestMemoryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from ringlet.kvm.memory import GuestMemory
    from ringlet.kvm.registers import Registers, SpecialRegisters
    from ringlet.kvm.vcpu import Vcpu
else:
    from ringlet.host.named_tuple import NamedTuple

MAX_INSTRUCTION = 15  # bytes of the longest x86 instruction (Intel SDM volume 2, 2.3.11)
NO_INSTRUCTION = "no instruction"
_EFER_LMA = 1 << 10
_MASK = 0xFFFF_FFFF_FFFF_FFFF
_PAGE = 0x1000


class Instruction(NamedTuple):
    """An instruction at `address`; bytes that are no instruction are one byte in `code`."""

    address: int
    code: bytes
    text: str


def bits_of(special: SpecialRegisters) -> int:
    """Returns the size of the code that the vCPU runs: 16, 32 or 64 bits."""
    if special.efer & _EFER_LMA and special.cs.l:
        return 64
    return 32 if special.cs.db else 16


def linear_rip(registers: Registers, special: SpecialRegisters) -> int:
    """Returns the linear address of RIP: RIP plus the base of CS."""
    base = 0 if special.cs.l else special.cs.base
    return (base + registers.rip) & _MASK


def read_linear(vcpu: Vcpu, memory: GuestMemory, address: int, size: int) -> bytes:
    """Returns the bytes at a linear address; fewer if the memory behind the address ends."""
    data = bytearray()
    while len(data) < size:
        linear = (address + len(data)) & _MASK
        physical = vcpu.translate(linear)
        if physical is None:
            break
        count = min(size - len(data), _PAGE - linear % _PAGE)
        try:
            data += memory.read(physical, count)
        except GuestMemoryError:
            break
    return bytes(data)


def disassemble(code: bytes, address: int, bits: int, count: int) -> list[Instruction]:
    """Returns at most `count` instructions of `code`, which lies at `address`."""
    import capstone

    mode = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}[bits]
    engine = capstone.Cs(capstone.CS_ARCH_X86, mode)
    found: list[Instruction] = []
    start = 0
    while start < len(code) and len(found) < count:
        decoded = list(engine.disasm_lite(code[start:], address + start, count - len(found)))
        for at, size, mnemonic, operands in decoded:
            offset = at - address
            text = f"{mnemonic} {operands}".strip()
            found.append(Instruction(at, code[offset : offset + size], text))
            start = offset + size
        if len(found) < count and start < len(code):
            found.append(Instruction(address + start, code[start : start + 1], NO_INSTRUCTION))
            start += 1
    return found
