"""What the code at RIP tells of a guest that hangs: an endless loop, or memory without code."""

from __future__ import annotations

from ringlet.machine.assembly import NO_INSTRUCTION, bits_of, read_linear

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringlet.boot.symbols import Symbols
    from ringlet.kvm.memory import GuestMemory
    from ringlet.kvm.vcpu import Vcpu
    from ringlet.machine.assembly import Instruction

ZEROS = 8  # so many bytes of 0 aren't code: each pair is `add [rax], al`
NO_CODE = "the memory here is all zeros: the guest has jumped to an address without code"
_LOOP_SIZE = 4096  # bytes of the longest loop that counts as one


def caller(vcpu: Vcpu, memory: GuestMemory, symbols: Symbols) -> str:
    """Returns where the guest came from, if the top of the stack is an address in a function.

    For a guest that jumped to where no code is: a call has left its return address there.
    """
    registers, special = vcpu.registers, vcpu.special_registers
    bits = bits_of(special)
    stack = registers.rsp + (0 if bits == 64 else special.ss.base)
    address = int.from_bytes(read_linear(vcpu, memory, stack, bits // 8), "little")
    function = symbols.describe(address)
    return (
        f"the top of the stack is {address:#x}, {function}: it came from there" if function else ""
    )


def note_on(code: bytes, instructions: Sequence[Instruction]) -> str:
    """Returns what `code` and its first `instructions`, which begin at RIP, tell; or ""."""
    if len(code) >= ZEROS and not any(code[:ZEROS]):
        return NO_CODE
    return _loop(instructions)


def _loop(instructions: Sequence[Instruction]) -> str:
    """Returns the words for a loop that RIP is in: a jump that follows leads back to it.

    A call on the way may never return, and a jump forward may leave the loop, so only the code
    up to the next jump that always happens is looked at.
    """
    if not instructions:
        return ""
    rip = instructions[0].address
    for instruction in instructions:
        name, _, target = instruction.text.partition(" ")
        if name in ("ret", "retf", "iret", "iretd", "iretq", "hlt"):
            return ""
        if instruction.text == NO_INSTRUCTION:
            return ""
        if not (name.startswith(("j", "loop")) and target.startswith("0x")):
            continue
        start = int(target, 16)
        if start == instruction.address == rip:
            return "this code is an endless loop: it jumps to itself"
        if start <= rip and rip - start < _LOOP_SIZE:
            return f"this code is a loop, from {start:#x} to {instruction.address:#x}"
        if name == "jmp":
            return ""
    return ""
