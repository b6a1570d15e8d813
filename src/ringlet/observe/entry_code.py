"""Where a kernel starts: address, processor mode, registers, and the first instructions."""

from __future__ import annotations

import msgspec

from ringlet.machine.crash import EFER_LMA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.boot import Entry, Kernel

INSTRUCTIONS = 8
_LONGEST = 15  # bytes of an x86 instruction (Intel SDM volume 2, 2.3.11)
_PROTECTION = 1  # CR0.PE

_MODES = {
    16: "16-bit real mode",
    32: "32-bit protected mode, no paging",
    64: "64-bit long mode, the first 4 GiB mapped to themselves",
}


class Instruction(msgspec.Struct, frozen=True):
    """An instruction: its address, its bytes as hexadecimal text, and its assembly.

    A byte that begins no instruction is `.byte`.
    """

    address: int
    bytes: str
    text: str


class EntryFacts(msgspec.Struct, frozen=True):
    """The state of the first vCPU before its first instruction.

    address    of the first instruction, physical
    bits       16, 32 or 64: the size of the code
    mode       the processor's mode, for people
    registers  the general registers that aren't 0, but for RIP and RFLAGS
    code       the first instructions in the file; empty if the file has no bytes for the address
    """

    address: int
    bits: int
    mode: str
    registers: dict[str, int]
    code: list[Instruction]


def entry_facts(kernel: Kernel, entry: Entry) -> EntryFacts:
    """Returns what the guest finds, of the state that `Kernel.load` returned."""
    registers, special = entry.registers, entry.special
    if special.efer & EFER_LMA and special.cs.l:
        bits = 64
    else:
        bits = 32 if special.cr0 & _PROTECTION else 16
    address = special.cs.base + registers.rip
    given = {
        name: value
        for name, value in registers._asdict().items()
        if value and name not in ("rip", "rflags")
    }
    code = disassemble(read(kernel, address, INSTRUCTIONS * _LONGEST), address, bits)
    return EntryFacts(address, bits, _MODES[bits], given, code)


def read(kernel: Kernel, address: int, size: int) -> bytes:
    """Returns `size` bytes of the image that lie at the physical `address`, fewer at their end."""
    for segment in kernel.executable.segments:
        start = address - segment.address
        if 0 <= start < segment.file_size:
            return kernel.image.read(segment.offset + start, min(size, segment.file_size - start))
    return b""


def disassemble(code: bytes, address: int, bits: int) -> list[Instruction]:
    """Returns the first instructions of `code`."""
    import capstone

    modes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
    engine = capstone.Cs(capstone.CS_ARCH_X86, modes[bits])
    engine.skipdata = True
    found = []
    for at, size, mnemonic, operands in engine.disasm_lite(code, address, INSTRUCTIONS):
        data = code[at - address : at - address + size]
        found.append(Instruction(at, data.hex(" "), f"{mnemonic} {operands}".strip()))
    return found
