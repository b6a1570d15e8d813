"""Which exception the instruction at RIP raises: a look at its operands, registers and page tables.

Source: Intel SDM volume 2 (the exceptions of each instruction); volume 3, 6.15.
"""

from __future__ import annotations

from typing import NamedTuple

import capstone
from capstone import x86

from ringlet.machine.assembly import MAX_INSTRUCTION, bits_of, linear_rip, read_linear

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ringlet.kvm.memory import GuestMemory
    from ringlet.kvm.registers import Registers, SpecialRegisters
    from ringlet.kvm.vcpu import Vcpu

DIVIDE_ERROR, BREAKPOINT, INVALID_OPCODE, DOUBLE_FAULT = 0, 3, 6, 8
GENERAL_PROTECTION, PAGE_FAULT = 13, 14
JUMPED = "the guest jumped to"
NULL_PAGE = 0x1000  # an address below is a null pointer, or a field behind one
_CR4_OSFXSR = 1 << 9
_WRITE, _USER, _FETCH = 2, 4, 16  # of a page fault's error code
_IDT = 2  # of an error code that names a vector
_MASK = 0xFFFF_FFFF_FFFF_FFFF


class Culprit(NamedTuple):
    """An exception of the instruction at RIP; `vector` is None if it seems to raise none.

    With `is_jump`, no instruction can be read: the guest has jumped to where no code can be.
    """

    vector: int | None = None
    error_code: int | None = None
    certain: bool = False
    cause: str = ""
    is_jump: bool = False


class Reference(NamedTuple):
    """An access to memory by the instruction: `size` bytes at a linear address."""

    address: int
    size: int
    is_write: bool
    is_stack: bool = False


class _State(NamedTuple):
    vcpu: Vcpu
    registers: Registers
    special: SpecialRegisters
    bits: int
    ring: int


def find_culprit(vcpu: Vcpu, memory: GuestMemory) -> Culprit:
    """Returns the exception that the instruction at RIP raises. The vCPU must not run."""
    registers, special = vcpu.registers, vcpu.special_registers
    state = _State(vcpu, registers, special, bits_of(special), special.ss.dpl)
    rip = linear_rip(registers, special)
    code = read_linear(vcpu, memory, rip, MAX_INSTRUCTION)
    if not code:
        return _unreadable(state, rip)
    instruction = _decode(code, registers.rip, state.bits)
    if instruction is None:
        if len(code) < MAX_INSTRUCTION:
            return _unreadable(state, rip + len(code))
        return Culprit(INVALID_OPCODE, None, True, f"the bytes at {rip:#x} are no instruction")
    for look in (_look_at_opcode, _look_at_division, _look_at_sse, _look_at_memory):
        found = look(state, instruction)
        if found is not None:
            return found
    return Culprit()


def _decode(code: bytes, rip: int, bits: int) -> Any:
    mode = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}[bits]
    engine = capstone.Cs(capstone.CS_ARCH_X86, mode)
    engine.detail = True
    return next(engine.disasm(code, rip, 1), None)


def _text(instruction: Any) -> str:
    return f"`{instruction.mnemonic} {instruction.op_str}".strip() + "`"


def _unreadable(state: _State, address: int) -> Culprit:
    address &= _MASK
    if state.bits == 64 and not _is_canonical(address):
        cause = f"{JUMPED} {address:#x}, which is no canonical address"
        return Culprit(GENERAL_PROTECTION, 0, True, cause, True)
    if state.vcpu.translate(address) is not None:
        cause = f"{JUMPED} {address:#x}, where no RAM is"
        return Culprit(cause=cause, is_jump=True)
    cause = f"{JUMPED} {address:#x}, {_unmapped(address)}"
    return Culprit(PAGE_FAULT, _user(state), True, cause, True)


def _unmapped(address: int) -> str:
    return "which isn't mapped" + (": a null pointer" if address < NULL_PAGE else "")


def _is_canonical(address: int) -> bool:
    return address >> 47 in (0, 0x1FFFF)


def _user(state: _State) -> int:
    return _USER if state.ring == 3 else 0


def _look_at_opcode(state: _State, instruction: Any) -> Culprit | None:
    name, text = instruction.mnemonic, _text(instruction)
    if name in ("ud0", "ud1", "ud2"):
        return Culprit(INVALID_OPCODE, None, True, f"{text} always raises it")
    if name in ("int", "int3", "into", "int1"):
        vector = {"int3": 3, "into": 4, "int1": 1}.get(name)
        if vector is None:
            vector = instruction.operands[0].imm & 0xFF
        cause = f"{text} calls the handler of vector {vector:#x}, and the IDT has none"
        return Culprit(GENERAL_PROTECTION, vector << 3 | _IDT, False, cause)
    if state.ring == 3 and capstone.CS_GRP_PRIVILEGE in instruction.groups:
        return Culprit(GENERAL_PROTECTION, 0, True, f"{text} is for ring 0 alone")
    return None


def _look_at_division(state: _State, instruction: Any) -> Culprit | None:
    if instruction.mnemonic not in ("div", "idiv"):
        return None
    operand = instruction.operands[0]
    if operand.type != capstone.x86.X86_OP_REG:
        return None
    name = instruction.reg_name(operand.reg)
    divisor = register(state.registers, name, instruction.address + instruction.size)
    text = _text(instruction)
    if divisor == 0:
        return Culprit(DIVIDE_ERROR, None, True, f"{text} divides by zero: {name} is 0")
    if not _quotient_fits(state.registers, divisor, operand.size, instruction.mnemonic == "idiv"):
        cause = f"{text}: the quotient is too large for its register"
        return Culprit(DIVIDE_ERROR, None, True, cause)
    return None


def _quotient_fits(registers: Registers, divisor: int, size: int, is_signed: bool) -> bool:
    """Returns whether the quotient of RDX:RAX (for a byte: of AX) fits into `size` bytes."""
    bits = 8 * size
    low, high = registers.rax & ((1 << bits) - 1), registers.rdx & ((1 << bits) - 1)
    if size == 1:
        high = registers.rax >> 8 & 0xFF
    dividend = high << bits | low
    if not is_signed:
        return dividend // divisor < 1 << bits
    dividend, divisor = _signed(dividend, 2 * bits), _signed(divisor, bits)
    quotient = abs(dividend) // abs(divisor)
    return quotient < 1 << bits - 1 or (
        (dividend < 0) != (divisor < 0) and quotient == 1 << bits - 1
    )


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value


def _look_at_sse(state: _State, instruction: Any) -> Culprit | None:
    if state.special.cr4 & _CR4_OSFXSR or "xmm" not in instruction.op_str:
        return None
    cause = (
        f"{_text(instruction)} is an SSE instruction, and SSE is off (CR4.OSFXSR is 0): "
        "compile with -mgeneral-regs-only, or turn SSE on"
    )
    return Culprit(INVALID_OPCODE, None, True, cause)


def _look_at_memory(state: _State, instruction: Any) -> Culprit | None:
    text = _text(instruction)
    for reference in _references(state, instruction):
        does = f"{text} {'writes to' if reference.is_write else 'reads'}"
        if reference.is_stack:
            does += " its stack at"
        for address in (reference.address, (reference.address + reference.size - 1) & _MASK):
            if state.bits == 64 and not _is_canonical(address):
                vector = 12 if reference.is_stack else GENERAL_PROTECTION
                cause = f"{does} {address:#x}, which is no canonical address"
                return Culprit(vector, 0, True, cause)
            if state.vcpu.translate(address) is None:
                code = (_WRITE if reference.is_write else 0) | _user(state)
                cause = f"{does} {address:#x}, {_unmapped(address)}"
                return Culprit(PAGE_FAULT, code, True, cause)
        if state.special.cr2 - reference.address in range(reference.size):
            cause = f"{does} {state.special.cr2:#x}, which the page forbids"
            code = 1 | (_WRITE if reference.is_write else 0) | _user(state)
            return Culprit(PAGE_FAULT, code, False, cause)
    return None


def _references(state: _State, instruction: Any) -> Iterator[Reference]:
    """Yields the accesses of an instruction to memory, those to its stack too."""
    for operand in instruction.operands:
        if operand.type == x86.X86_OP_MEM and instruction.mnemonic not in ("lea", "nop"):
            is_write = bool(operand.access & capstone.CS_AC_WRITE)
            yield Reference(_address(state, instruction, operand.mem), operand.size or 1, is_write)
    width = state.bits // 8
    stack = state.registers.rsp
    if state.bits != 64:
        stack = (stack & ((1 << state.bits) - 1)) + state.special.ss.base
    name = instruction.mnemonic
    if name.startswith(("push", "call")):
        yield Reference((stack - width) & _MASK, width, True, True)
    elif name in ("pop", "popf", "popfd", "popfq", "ret", "retf", "iret", "iretd", "iretq"):
        yield Reference(stack & _MASK, width, False, True)


def _address(state: _State, instruction: Any, memory: Any) -> int:
    """Returns the linear address of an operand in memory (Intel SDM volume 1, 3.7.5)."""
    following = instruction.address + instruction.size
    base, index = (
        register(state.registers, instruction.reg_name(number), following) if number else 0
        for number in (memory.base, memory.index)
    )
    address = base + index * memory.scale + memory.disp
    segment = instruction.reg_name(memory.segment) if memory.segment else "ds"
    if state.bits == 64:
        segment_base = getattr(state.special, segment).base if segment in ("fs", "gs") else 0
        return int(address + segment_base) & _MASK
    if not memory.segment and memory.base:
        in_stack = instruction.reg_name(memory.base) in ("bp", "sp", "ebp", "esp")
        segment = "ss" if in_stack else "ds"
    address &= (1 << state.bits) - 1
    return int(address + getattr(state.special, segment).base) & 0xFFFF_FFFF


def register(registers: Registers, name: str, following: int) -> int:
    """Returns a general register by any of its names; `following` is the value of RIP."""
    if name in ("rip", "eip"):
        return following
    if name in ("riz", "eiz"):
        return 0
    for letter in "abcd":
        if name in (f"{letter}l", f"{letter}h"):
            value: int = getattr(registers, f"r{letter}x")
            return value >> (8 if name[1] == "h" else 0) & 0xFF
    if name[-1] in "dwb" and name[1:-1].isdigit():  # r8d, r8w, r8b
        size = {"d": 32, "w": 16, "b": 8}[name[-1]]
        return int(getattr(registers, name[:-1])) & ((1 << size) - 1)
    if name.startswith("r"):
        return int(getattr(registers, name))
    if name.startswith("e"):
        return int(getattr(registers, f"r{name[1:]}")) & 0xFFFF_FFFF
    if name.endswith("l"):  # sil, dil, bpl, spl
        return int(getattr(registers, f"r{name[:-1]}")) & 0xFF
    return int(getattr(registers, f"r{name}")) & 0xFFFF
