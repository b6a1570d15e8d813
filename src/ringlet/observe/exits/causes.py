"""Finds the instruction that caused an exit.

KVM says what the guest accessed, and not by which instruction. RIP helps: it points at the
instruction, or right behind it, depending on how KVM handled the access.

- A read: KVM needs the value to finish the instruction, so RIP points at the instruction.
- A write to memory: KVM's emulator has finished the instruction, so RIP points behind it.
- A write to a port: a KVM for hardware may leave RIP at the instruction; an emulator doesn't.
- A repeated string instruction (`rep outsb`): RIP stays at the instruction, and moves on once KVM
  sees that RCX is 0, which makes no exit.

So this file takes the instruction at RIP and those that end there, and compares each with the
access: its direction, its width, and its port or its address, computed from the registers. If none
fits, or if several different ones do, the cause stays unknown: no cause is better than a wrong one.

Source: Intel SDM volume 1, 3.7 (operand addressing), and volume 2, 4.3 (IN, INS, OUT, OUTS);
Linux, arch/x86/kvm/x86.c (x86_emulate_instruction, kvm_fast_pio) and emulate.c.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import NamedTuple

import capstone
from capstone import x86_const as x86

from ringlet.kvm.memory import GuestMemoryError
from ringlet.kvm.registers import Registers, SpecialRegisters
from ringlet.machine.assembly import MAX_INSTRUCTION, bits_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ringlet.boot.symbols import Symbol
    from ringlet.kvm.memory import GuestMemory
    from ringlet.kvm.vcpu import Vcpu
    from ringlet.observe.exits.places import Access

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_PAGE = 0x1000
_MAX_SWEEP = 4096  # bytes of a function that are read to find where an instruction starts
_CR0_PG = 1 << 31
_RFLAGS_DF = 1 << 10
_REGISTERS = Struct("<18Q")
_SPECIAL_SIZE = 8 * 24 + 2 * 16 + 7 * 8  # of a struct kvm_sregs, up to its interrupt bitmap
_RDX, _RIP, _RFLAGS = (Registers._fields.index(name) for name in ("rdx", "rip", "rflags"))
_MODES = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
_NO_ACCESS = ("lea", "nop", "prefetch", "invlpg", "clflush")  # these have an address, and no access


_DX = -1  # in place of the number of a port


class Cause(NamedTuple):
    """The instruction that caused an exit: its linear address, and its text."""

    address: int
    text: str


class _Operand(NamedTuple):
    """The address of a memory operand: registers by their index and mask."""

    segment: int  # index of a segment in struct kvm_sregs
    base: tuple[int, int] | None
    scaled: tuple[int, int] | None
    scale: int
    displacement: int
    mask: int
    moves: bool  # a string instruction: afterwards, the register has moved on


class _Candidate(NamedTuple):
    """An instruction that may be the cause: at RIP, or ending there (`behind`)."""

    text: str
    size: int
    behind: bool
    is_string: bool
    port: int | None  # DX: the port is in that register
    operand: _Operand | None  # of an access to memory


class _Mode:
    """What the special registers say of addresses."""

    def __init__(self, data: bytes) -> None:
        special = SpecialRegisters.unpack(data.ljust(_SPECIAL_SIZE + 32, b"\0"))
        self.bits = bits_of(special)
        self.paging = special.cr0 & _CR0_PG != 0
        self.code_base = 0 if self.bits == 64 else special.cs.base
        # In 64-bit mode, only FS and GS have a base.
        self.bases = [
            0 if self.bits == 64 and number not in (3, 4) else segment.base
            for number, segment in enumerate(special[:6])
        ]
        self.linear_mask = _MASK if self.bits == 64 else 0xFFFF_FFFF


class CauseFinder:
    """Finds the causes of a vCPU's exits; only for the thread that runs the vCPU.

    `behind` says whether this KVM leaves RIP behind an instruction that writes to a port. `symbol`
    returns the symbol at an address, and the offset in the symbol, as `Symbols.at` does.

    `find` asks KVM for the translation of a page once, and keeps the translation until `forget` or
    until the guest changes CR3. Don't call `find` once the vCPU is closed.
    """

    def __init__(
        self,
        vcpu: Vcpu,
        memory: GuestMemory,
        *,
        behind: bool,
        symbol: Callable[[int], tuple[Symbol, int] | None],
    ) -> None:
        self._vcpu = vcpu
        self._memory = memory
        self._behind = behind
        self._shared = vcpu.share_registers()
        self._symbol = symbol
        self._special = b""
        self._mode: Any = None
        self._pages: dict[int, int | None] = {}
        for bits in _MODES:  # what takes long the first time is done before the guest runs
            _decode(b"\x90", 0, bits)

    def forget(self) -> None:
        """Forgets the translations of pages, which the guest may have changed."""
        self._pages.clear()

    def find(self, access: Access) -> Cause | None:
        """Returns the cause of the exit that has just happened; None if it can't be known."""
        if self._shared is None:
            return None
        registers, linear = self._look(self._shared)
        around = self._read(linear - MAX_INSTRUCTION, 2 * MAX_INSTRUCTION)
        before, after = around[:MAX_INSTRUCTION], around[MAX_INSTRUCTION:]
        if len(around) < 2 * MAX_INSTRUCTION:  # the code begins or ends where memory does
            before = self._read(linear - MAX_INSTRUCTION, MAX_INSTRUCTION)
            after = self._read(linear, MAX_INSTRUCTION)
        bits, rip = self._mode.bits, registers[_RIP]
        candidates = _candidates(
            before, after, rip, bits, access.is_mmio, access.write, access.size
        )
        fitting = [each for each in candidates if self._fits(each, access, registers)]
        if len(fitting) == 1:
            (only,) = fitting
            return Cause((linear - only.size if only.behind else linear) & _MASK, only.text)
        here = [each for each in fitting if not each.behind]
        before_rip = [each for each in fitting if each.behind]
        if here and before_rip:
            if access.is_mmio or any(each.is_string for each in fitting):
                return None
            # Two writes to ports in a row: it is known at which of them this KVM leaves RIP.
            here, before_rip = ([], before_rip) if self._behind else (here, [])
        if here:
            return Cause(linear, here[0].text)
        causes = {Cause((linear - each.size) & _MASK, each.text) for each in before_rip}
        if len(causes) > 1:
            causes &= self._sweep(linear)
        return causes.pop() if len(causes) == 1 else None

    def _sweep(self, linear: int) -> set[Cause]:
        """Returns the instruction before RIP, if a symbol tells where the code begins.

        The byte before an instruction may look like a prefix of the instruction. Whoever reads the
        code from the start of the function on sees where each instruction starts.
        """
        found = self._symbol(linear - 1)
        if found is None or found[1] >= _MAX_SWEEP:
            return set()
        size = found[1] + 1
        last = _last_instruction(self._read(linear - size, size), self._mode.bits)
        return set() if last is None else {Cause((linear - last[0]) & _MASK, last[1])}

    def at_rip(self) -> Cause | None:
        """Returns the instruction at RIP, for an exit that isn't an access."""
        if self._shared is None:
            return None
        registers, linear = self._look(self._shared)
        found = _decode(self._read(linear, MAX_INSTRUCTION), registers[_RIP], self._mode.bits)
        return None if found is None else Cause(linear, _text(found))

    def _look(self, shared: memoryview) -> tuple[tuple[int, ...], int]:
        """Returns the registers and the linear address of RIP; sets the mode."""
        registers = _REGISTERS.unpack_from(shared)
        start = _REGISTERS.size
        special = shared[start : start + _SPECIAL_SIZE].tobytes()
        if special != self._special:
            self._special, self._mode = special, _Mode(special)
            self._pages.clear()
        return registers, (self._mode.code_base + registers[_RIP]) & self._mode.linear_mask

    def _fits(self, each: _Candidate, access: Access, registers: tuple[int, ...]) -> bool:
        if each.operand is None:
            port = registers[_RDX] & 0xFFFF if each.port == _DX else each.port
            return port == access.address
        linear = self._address(each.operand, access, registers)
        page = self._translate(linear & ~(_PAGE - 1))
        return page is not None and page + linear % _PAGE == access.address

    def _address(self, operand: _Operand, access: Access, registers: tuple[int, ...]) -> int:
        """Returns the linear address of an operand, as it was when the instruction ran."""
        offset = operand.displacement
        for part, scale in ((operand.base, 1), (operand.scaled, operand.scale)):
            if part is not None:
                number, mask = part
                offset += (registers[number] & mask) * scale
        if operand.moves and access.write:
            offset += access.size if registers[_RFLAGS] & _RFLAGS_DF else -access.size
        mode = self._mode
        linear: int = mode.bases[operand.segment] + (offset & operand.mask)
        return linear & int(mode.linear_mask)

    def _translate(self, page: int) -> int | None:
        """Returns the guest-physical address of the page at a linear address, or None."""
        if not self._mode.paging:
            return page
        if page not in self._pages:
            self._pages[page] = self._vcpu.translate(page)
        return self._pages[page]

    def _read(self, linear: int, size: int) -> bytes:
        """Returns the bytes at a linear address; b"" if not all of them are in memory."""
        linear &= self._mode.linear_mask
        data = b""
        try:
            while size:
                page = self._translate(linear & ~(_PAGE - 1))
                if page is None:
                    return data
                count = min(size, _PAGE - linear % _PAGE)
                data += self._memory.read(page + linear % _PAGE, count)
                linear, size = linear + count, size - count
        except GuestMemoryError:
            pass
        return data


# --- Instructions, which depend on nothing but their bytes ----------------------------------


@lru_cache(maxsize=4096)
def _candidates(
    before: bytes, after: bytes, rip: int, bits: int, is_mmio: bool, write: bool, size: int
) -> tuple[_Candidate, ...]:
    """Returns the instructions around RIP that make such an access. `before` ends at RIP."""
    found: list[_Candidate] = []
    if here := _candidate(after, rip, bits, is_mmio, write, size, behind=False):
        found.append(here)
    for length in range(1, len(before) + 1) if write else ():
        each = _candidate(before[-length:], rip - length, bits, is_mmio, write, size, behind=True)
        if each is not None and each.size == length:
            found.append(each)
    return tuple(found)


@lru_cache(maxsize=3)
def _engine(bits: int) -> Any:
    engine = capstone.Cs(capstone.CS_ARCH_X86, _MODES[bits])
    engine.detail = True
    return engine


def _decode(code: bytes, rip: int, bits: int) -> Any:
    return next(_engine(bits).disasm(code, rip & _MASK, 1), None)


@lru_cache(maxsize=256)
def _last_instruction(code: bytes, bits: int) -> tuple[int, str] | None:
    """Returns the length and the text of the instruction with which `code` ends."""
    last = None
    at = 0
    for at, length, mnemonic, operands in _engine(bits).disasm_lite(code, 0):
        last = at, length, f"{mnemonic} {operands}".strip()
    return last[1:] if last is not None and at + last[1] == len(code) else None


def _text(instruction: Any) -> str:
    return f"{instruction.mnemonic} {instruction.op_str}".strip()


def _candidate(
    code: bytes, rip: int, bits: int, is_mmio: bool, write: bool, size: int, *, behind: bool
) -> _Candidate | None:
    """Returns the first instruction of `code` if it makes an access of this kind."""
    one = _decode(code, rip, bits)
    if one is None:
        return None
    is_string = one.opcode[0] in _STRINGS
    repeats = is_string and one.prefix[0] in (x86.X86_PREFIX_REP, x86.X86_PREFIX_REPNE)
    if write and (is_mmio or is_string) and behind == repeats:
        return None  # RIP isn't on this side of such an instruction
    operand, port = None, None
    if is_mmio:
        operand = _memory_operand(one, write, size)
    else:
        port = _port_operand(one, write, size)
    if operand is None and port is None:
        return None
    return _Candidate(_text(one), one.size, behind, is_string, port, operand)


# The first byte of the opcode: of IN and OUT, and of the string instructions, INS and OUTS first.
_IN_OUT = frozenset((*range(0xE4, 0xE8), *range(0xEC, 0xF0)))
_STRINGS = frozenset((*range(0x6C, 0x70), *range(0xA4, 0xA8), *range(0xAA, 0xB0)))


def _port_operand(one: Any, write: bool, size: int) -> int | None:
    """Returns the port that a port access names, or _DX; None if it's no such access."""
    opcode = one.opcode[0]
    if opcode not in _IN_OUT and not 0x6C <= opcode < 0x70:
        return None
    writes = opcode & 2 != 0
    port, data = one.operands if writes else reversed(one.operands)
    if writes != write or data.size != size:
        return None
    return port.imm & 0xFF if port.type == x86.X86_OP_IMM else _DX


def _memory_operand(one: Any, write: bool, size: int) -> _Operand | None:
    """Returns the operand in memory that is written, or read, with this width."""
    if one.mnemonic.startswith(_NO_ACCESS):
        return None
    for operand in one.operands:
        if operand.type != x86.X86_OP_MEM:
            continue
        writes = operand.access & capstone.CS_AC_WRITE != 0
        only_writes = operand.access == capstone.CS_AC_WRITE  # capstone doesn't know each read
        if not writes if write else only_writes:
            continue
        if operand.size == size or (operand.size > 8 and size == 8):
            return _operand(one, operand.mem)
    return None


def _operand(one: Any, memory: Any) -> _Operand | None:
    base, index = _register(one, memory.base), _register(one, memory.index)
    displacement = memory.disp
    if one.reg_name(memory.base) in ("rip", "eip"):
        base, displacement = None, displacement + one.address + one.size
    if (memory.base and base is None and displacement == memory.disp) or (
        memory.index and index is None
    ):
        return None  # a register that isn't a general one
    segment = _SEGMENTS.get(memory.segment)
    if segment is None:
        on_stack = base is not None and Registers._fields[base[0]] in ("rbp", "rsp")
        segment = _SEGMENTS[x86.X86_REG_SS if on_stack else x86.X86_REG_DS]
    mask = (1 << 8 * one.addr_size) - 1
    return _Operand(
        segment, base, index, memory.scale, displacement, mask, one.opcode[0] in _STRINGS
    )


# The segments in the order of struct kvm_sregs.
_SEGMENTS = {
    register: number
    for number, register in enumerate(
        (
            x86.X86_REG_CS,
            x86.X86_REG_DS,
            x86.X86_REG_ES,
            x86.X86_REG_FS,
            x86.X86_REG_GS,
            x86.X86_REG_SS,
        )
    )
}


@lru_cache(maxsize=64)
def _general(name: str) -> tuple[int, int] | None:
    """Returns the index in struct kvm_regs and the mask of a register such as rax, esi or r8d."""
    if name[:1] == "r" and name[1:].rstrip("d").isdigit():
        return Registers._fields.index(name.rstrip("d")), 0xFFFF_FFFF if name[-1] == "d" else _MASK
    for prefix, mask in (("r", _MASK), ("e", 0xFFFF_FFFF), ("", 0xFFFF)):
        full = "r" + name.removeprefix(prefix)
        if name.startswith(prefix) and full in Registers._fields[:8]:
            return Registers._fields.index(full), mask
    return None


def _register(one: Any, number: int) -> tuple[int, int] | None:
    return _general(one.reg_name(number)) if number else None
