"""Where a kernel starts: address, processor mode, registers, and the first instructions."""

from __future__ import annotations

import msgspec

from ringlet.machine.assembly import MAX_INSTRUCTION, bits_of, disassemble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.boot import Entry, Kernel

INSTRUCTIONS = 8
_ENDS = ("jmp", "ljmp", "ret", "iret")  # the mnemonics begin so, also of far returns

_MODES = {
    16: "16-bit real mode",
    32: "32-bit protected mode, no paging",
    64: "64-bit long mode, the first 4 GiB mapped to themselves",
}


class Instruction(msgspec.Struct, frozen=True):
    """An instruction: its address, its bytes as hexadecimal text, and its assembly.

    A byte that begins no instruction has the assembly `no instruction`.
    """

    address: int
    bytes: str
    text: str


class EntryFacts(msgspec.Struct, frozen=True):
    """The state of the first vCPU before its first instruction.

    address    of the first instruction, physical
    symbol     the function at that address, by the symbols of the image; empty if unknown
    bits       16, 32 or 64: the size of the code
    mode       the processor's mode, for people
    registers  the general registers that aren't 0, but for RIP and RFLAGS
    code       the first instructions, at most 8; empty if the file has no bytes for the address
    """

    address: int
    symbol: str
    bits: int
    mode: str
    registers: dict[str, int]
    code: list[Instruction]


def entry_facts(kernel: Kernel, entry: Entry) -> EntryFacts:
    """Returns what the guest finds, of the state that `Kernel.load` returned."""
    registers, special = entry.registers, entry.special
    bits = bits_of(special)
    address = special.cs.base + registers.rip
    given = {
        name: value
        for name, value in registers._asdict().items()
        if value and name not in ("rip", "rflags")
    }
    code = first_instructions(read(kernel, address, INSTRUCTIONS * MAX_INSTRUCTION), address, bits)
    return EntryFacts(address, _symbol(kernel, address), bits, _MODES[bits], given, code)


def first_instructions(code: bytes, address: int, bits: int) -> list[Instruction]:
    """Returns the first instructions of `code`, up to a jump that is always taken, or a return.

    What follows such an instruction may be data, or code of another mode.
    """
    found = []
    for each in disassemble(code, address, bits, INSTRUCTIONS):
        found.append(Instruction(each.address, each.code.hex(" "), each.text))
        if each.text.startswith(_ENDS):
            break
    return found


def _symbol(kernel: Kernel, address: int) -> str:
    """Returns the symbol at the physical `address`; Linux's symbols have virtual addresses."""
    symbols = kernel.symbols()
    for segment in kernel.executable.segments:
        if segment.address <= address < segment.end:
            virtual = address - segment.address + segment.virtual
            return symbols.describe(virtual) or symbols.describe(address)
    return symbols.describe(address)


def read(kernel: Kernel, address: int, size: int) -> bytes:
    """Returns `size` bytes of the image that lie at the physical `address`, fewer at their end."""
    for segment in kernel.executable.segments:
        start = address - segment.address
        if 0 <= start < segment.file_size:
            return kernel.image.read(segment.offset + start, min(size, segment.file_size - start))
    return b""
