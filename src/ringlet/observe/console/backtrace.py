"""The stack and the functions that called each other: a backtrace.

A caller is found, in this order, by

    frame rule     the debug information says how the frame lies (DWARF call frame information)
    entry          the function is at its first instruction, so the return address is on top
    frame pointer  RBP points to the caller's RBP, and the return address lies behind it
    guess          a word on the stack is an address behind a call instruction, and may be old

A handler of the IDT has an interrupt frame in place of a return address. Source: Intel SDM volume
3, 6.14.2 (stack frame of long mode); DWARF 5, 6.4; System V ABI, AMD64 supplement, 3.6.2.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

from ringlet.machine.assembly import bits_of, linear_rip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ringlet.boot.symbols import Symbols
    from ringlet.kvm.registers import Registers, SpecialRegisters
    from ringlet.observe.console.lines import Lines

MAX_FRAMES = 64
MAX_GUESSES = 8
SCAN_WORDS = 128  # of the stack, for return addresses
MAX_DISTANCE = 1 << 16  # bytes from RSP to a frame pointer

NOW, RULE, ENTRY, POINTER, INTERRUPT, GUESS = (
    "now",
    "frame rule",
    "entry",
    "frame pointer",
    "interrupt",
    "guess",
)

# The registers by their numbers in DWARF.
_NUMBERS = (
    *("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
_RBP, _RSP, _RA = 6, 7, 16
_LONGEST_CALL = 7


class Frame(NamedTuple):
    """One function under way.

    address  the linear address of its next instruction
    stack    the linear address of its stack's top
    how      how the frame was found, a word of this module
    ring     the ring in which the function runs
    """

    address: int
    stack: int
    how: str
    ring: int

    @property
    def code(self) -> int:
        """An address inside of the instruction that is under way, for symbols and source lines.

        A return address may be behind the function's last instruction, a call.
        """
        return self.address if self.how in (NOW, INTERRUPT) else max(self.address - 1, 0)


class _Walk:
    """A walk up the stack, for `backtrace`."""

    def __init__(
        self,
        registers: Registers,
        special: SpecialRegisters,
        read: Callable[[int, int], bytes],
        symbols: Symbols,
        lines: Lines,
        handlers: Mapping[int, bool],
    ) -> None:
        self._read, self._symbols, self._lines, self._handlers = read, symbols, lines, handlers
        self._bits = bits_of(special)
        self._word = self._bits // 8
        self._mask = (1 << self._bits) - 1
        self._code_base = 0 if self._bits == 64 else special.cs.base
        self._stack_base = 0 if self._bits == 64 else special.ss.base
        values = registers._asdict()
        self._values: dict[int, int] = {n: values[name] for n, name in enumerate(_NUMBERS)}
        ring = special.cs.selector & 3 if special.cr0 & 1 else 0
        top = self._stack(self._values[_RSP])
        self._frame = Frame(linear_rip(registers, special), top, NOW, ring)

    def frames(self) -> list[Frame]:
        found = [self._frame]
        while len(found) < MAX_FRAMES:
            caller = self._by_rule() or self._at_entry() or self._by_pointer()
            if caller is None:
                return found + self._guesses()
            found.append(caller)
            self._frame = caller
        return found

    def _stack(self, offset: int) -> int:
        return (self._stack_base + (offset & self._mask)) & 0xFFFF_FFFF_FFFF_FFFF

    def _word_at(self, address: int) -> int | None:
        data = self._read(address, self._word)
        return int.from_bytes(data, "little") if len(data) == self._word else None

    def _function(self) -> int | None:
        """Returns the first address of the function."""
        found = self._symbols.at(self._frame.code)
        return None if found is None else found[0].address

    def _by_rule(self) -> Frame | None:
        rule = self._lines.frame_rule(self._frame.code)
        if rule is None or self._bits != 64 or rule.register not in self._values:
            return None
        cfa = (self._values[rule.register] + rule.offset) & self._mask
        if cfa <= self._frame.stack:  # a stack grows downwards
            return None
        # An interrupt's frame has the interrupted stack pointer, too; a call's frame has none.
        if _RSP in rule.saved or self._function() in self._handlers:
            return self._interrupted(cfa - self._word, rule.saved, cfa)
        place = rule.saved.get(_RA)
        address = None if place is None else self._word_at(cfa + place)
        if not address:
            return None
        self._restore(rule.saved, cfa)
        self._values[_RSP] = cfa
        return Frame(address, cfa, RULE, self._frame.ring)

    def _restore(self, saved: dict[int, int], cfa: int) -> None:
        """Gives the registers that the function has saved their values in the caller."""
        for number, place in saved.items():
            value = self._word_at(cfa + place)
            if number in self._values and value is not None:
                self._values[number] = value

    def _interrupted(self, at: int, saved: dict[int, int], cfa: int) -> Frame | None:
        """Returns the interrupted frame; `at` has RIP, CS, RFLAGS, RSP and SS of an interrupt."""
        words = [self._word_at(at + 8 * number) for number in range(5)]
        rip, cs, _, rsp, _ = words
        if rip is None or cs is None or rsp is None:
            return None
        self._restore(saved, cfa)
        self._values[_RSP] = rsp
        return Frame(rip, rsp, INTERRUPT, cs & 3)

    def _at_entry(self) -> Frame | None:
        if self._frame.how not in (NOW, INTERRUPT) or self._function() != self._frame.address:
            return None
        top = self._frame.stack
        has_error_code = self._handlers.get(self._frame.address)
        if has_error_code is not None:
            top += self._word if has_error_code else 0
            return self._interrupted(top, {}, 0) if self._bits == 64 else None
        return self._returns(self._word_at(top), top + self._word, ENTRY)

    def _by_pointer(self) -> Frame | None:
        at = self._stack(self._values[_RBP])
        if not 0 <= at - self._frame.stack < MAX_DISTANCE or at % self._word:
            return None
        before, address = self._word_at(at), self._word_at(at + self._word)
        if before is None:
            return None
        caller = self._returns(address, at + 2 * self._word, POINTER)
        if caller is not None:
            self._values[_RBP] = before
        return caller

    def _returns(self, offset: int | None, stack: int, how: str) -> Frame | None:
        """Returns the caller's frame if `offset` may be a return address."""
        if offset is None:
            return None
        address = (self._code_base + offset) & 0xFFFF_FFFF_FFFF_FFFF
        if not self._is_behind_call(address):
            return None
        self._values[_RSP] = stack - self._stack_base
        return Frame(address, stack, how, self._frame.ring)

    def _guesses(self) -> list[Frame]:
        data = self._read(self._frame.stack, SCAN_WORDS * self._word)
        found = []
        for start in range(0, len(data) - self._word + 1, self._word):
            offset = int.from_bytes(data[start : start + self._word], "little")
            address = self._code_base + offset
            if offset and self._is_behind_call(address):
                top = self._frame.stack + start + self._word
                found.append(Frame(address, top, GUESS, self._frame.ring))
        return found[:MAX_GUESSES]

    def _is_behind_call(self, address: int) -> bool:
        """Returns whether an instruction before `address` is a call, in a function if known."""
        if len(self._symbols) and self._symbols.at(address - 1) is None:
            return False
        code = self._read(max(address - _LONGEST_CALL, 0), _LONGEST_CALL)
        if len(code) < _LONGEST_CALL:
            return False
        near = 3 if self._bits == 16 else 5  # e8 and a displacement
        if code[-near] == 0xE8:
            return True
        # ff /2, with a register, or memory with a displacement of 0, 8 or 32 bits.
        return any(code[-n] == 0xFF and code[1 - n] >> 3 & 7 == 2 for n in (2, 3, 4, 6, 7))


def backtrace(
    registers: Registers,
    special: SpecialRegisters,
    read: Callable[[int, int], bytes],
    symbols: Symbols,
    lines: Lines,
    handlers: Mapping[int, bool] = MappingProxyType({}),
) -> list[Frame]:
    """Returns the functions under way, the innermost first, at most 64 and some guesses.

    read(address, size)  reads linear memory, fewer bytes where it isn't mapped
    handlers             the linear addresses of the IDT's handlers, and whether the processor has
                         pushed an error code for the handler
    """
    return _Walk(registers, special, read, symbols, lines, handlers).frames()


class StackWord(NamedTuple):
    """A word of the stack at a linear address."""

    address: int
    value: int
    size: int


def stack_words(
    registers: Registers, special: SpecialRegisters, read: Callable[[int, int], bytes], count: int
) -> list[StackWord]:
    """Returns `count` words from the top of the stack on; fewer where the memory ends."""
    bits = bits_of(special)
    size = bits // 8
    base = 0 if bits == 64 else special.ss.base
    top = (base + (registers.rsp & (1 << bits) - 1)) & 0xFFFF_FFFF_FFFF_FFFF
    data = read(top, count * size)
    return [
        StackWord(top + start, int.from_bytes(data[start : start + size], "little"), size)
        for start in range(0, len(data) - size + 1, size)
    ]
