"""What a debugger for people knows at a stop: a vCPU, its registers, symbols and source lines."""

from __future__ import annotations

from functools import cached_property

from ringlet.errors import RingletError, near
from ringlet.kvm.exceptions import PAGE_FAULT, error_code_words, has_error_code, vector_name
from ringlet.machine.assembly import (
    MAX_INSTRUCTION,
    NO_INSTRUCTION,
    bits_of,
    disassemble,
)
from ringlet.machine.crash import examine
from ringlet.observe.console.lines import Line, Sources, read_lines
from ringlet.observe.console.tables import idt
from ringlet.observe.debug.paging import Processor, walk
from ringlet.observe.debug.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.boot.symbols import Symbols
    from ringlet.machine.assembly import Instruction
    from ringlet.machine.machine import Machine
    from ringlet.observe.console.lines import Lines
    from ringlet.observe.debug.debugger import Debugger
    from ringlet.observe.debug.paging import Walk
    from ringlet.observe.debug.stop import Stop

MASK = 0xFFFF_FFFF_FFFF_FFFF


class Session:
    """One guest under a debugger, and the vCPU that commands are about.

    `folder` is where the text of source files is looked for.
    """

    def __init__(self, machine: Machine, debugger: Debugger, folder: str) -> None:
        self.machine = machine
        self.debugger = debugger
        self.sources = Sources(folder)
        self.vcpu = 0
        self.stop: Stop | None = None

    @cached_property
    def lines(self) -> Lines:
        """The debug information."""
        return read_lines(self.machine.debug_information())

    @property
    def symbols(self) -> Symbols:
        """The symbols of the guest."""
        return self.machine.symbols

    @cached_property
    def processor(self) -> Processor:
        """What the guest's processor says of paging."""
        return Processor.of(self.machine.vm.vcpus[0].cpuid)

    def state(self, vcpu: int | None = None) -> State:
        """Returns the registers of a vCPU. Raises `RingletError` unless the guest stands still."""
        return State.of(self.debugger, self.vcpu if vcpu is None else vcpu)

    def walk(self, address: int) -> Walk:
        """Returns the walk of a linear address through the page tables."""
        special = self.debugger.special_registers(self.vcpu)
        return walk(address, special, self.debugger.read_physical, self.processor)

    def read(self, address: int, size: int) -> bytes:
        """Returns memory at a linear address; fewer bytes where the mapped memory ends.

        Unlike a translation by KVM, this leaves the accessed bits of the page tables alone.
        """
        special = self.debugger.special_registers(self.vcpu)
        data = bytearray()
        while len(data) < size:
            at = (address + len(data)) & MASK
            physical = walk(at, special, self.debugger.read_physical, self.processor).physical
            if physical is None:
                break
            count = min(size - len(data), 0x1000 - at % 0x1000)
            try:
                data += self.debugger.read_physical(physical, count)
            except RingletError:
                break
        return bytes(data)

    def describe(self, address: int) -> str:
        """Returns the symbol at an address and the offset, or ""."""
        return self.symbols.describe(address)

    def instructions(self, address: int, count: int) -> list[Instruction]:
        """Returns at most `count` instructions at a linear address; none where no memory is."""
        bits = bits_of(self.debugger.special_registers(self.vcpu))
        return disassemble(self.read(address, MAX_INSTRUCTION * count), address, bits, count)

    def instruction(self, address: int) -> Instruction | None:
        """Returns the instruction at a linear address; None if there is none."""
        found = self.instructions(address, 1)
        return found[0] if found and found[0].text != NO_INSTRUCTION else None

    def entered_by(self, state: State) -> str:
        """Returns in words which exception or interrupt has just entered its handler.

        Returns "" unless the vCPU is at the first instruction of a handler of one vector.
        """
        vectors = [
            gate.vector
            for gate in idt(state.special, self.read)
            if gate.present and gate.kind != "real mode" and gate.offset == state.address
        ]
        if len(vectors) != 1:
            return ""
        (vector,) = vectors
        words = [vector_name(vector)]
        size = bits_of(state.special) // 8
        base = 0 if size == 8 else state.special.ss.base
        top = (base + state.registers.rsp) & MASK
        if has_error_code(vector):
            code = int.from_bytes(self.read(top, size), "little")
            meaning = error_code_words(vector, code)
            words.append(f"error code {code:#x}" + (f" ({meaning})" if meaning else ""))
            top += size
        if vector == PAGE_FAULT:
            words.append(f"at the address {state.special.cr2:#x}")
        came = int.from_bytes(self.read(top, size), "little")
        place = self.describe(came)
        words.append(f"from {came:#x}" + (f" {place}" if place else ""))
        return ", ".join(words)

    def fault_lines(self, stop: Stop) -> list[str]:
        """Returns what led to a crash, for people to read; nothing if nobody knows."""
        if stop.exit is None:
            return []
        vcpu = self.machine.vm.vcpus[stop.vcpu]
        fault = examine(vcpu, self.machine.memory, stop.exit, self.symbols).fault
        return [] if fault is None else fault.lines()

    def source_line(self, line: Line) -> str | None:
        """Returns the text of a source line, or None where the file isn't found."""
        text = self.sources.lines(line.path)
        return text[line.number - 1] if text and line.number <= len(text) else None

    # The words of a command.

    def address_of(self, word: str) -> int:
        """Returns the linear address that a word names.

        The word is a number, a symbol, a register as `$rsp`, or FILE:LINE. An offset may follow a
        number, a symbol or a register, as in `main+0x10`. Raises `RingletError`.
        """
        path, colon, number = word.rpartition(":")
        if colon and number.isdecimal():
            return self.addresses_of_line(path, int(number))[1][0]
        for sign in "+-":
            base, found, offset = word.rpartition(sign)
            if found and base and (size := _number(offset)) is not None:
                return (self._base(base) + (size if sign == "+" else -size)) & MASK
        return self._base(word) & MASK

    def _base(self, word: str) -> int:
        number = _number(word)
        if number is not None:
            return number
        registers = self.state().registers
        name = word.removeprefix("$").lower()
        if word.startswith("$") and name == "pc":
            return self.state().address
        if word.startswith("$") and name in registers._fields:
            return int(getattr(registers, name))
        address = self.symbols.address_of(word)
        if address is not None:
            return address
        if name in registers._fields:
            raise RingletError(f"there is no symbol {word}", f"the register is ${name}")
        if word.startswith("$"):
            hint = near(name, registers._fields, "`registers` shows the registers")
            raise RingletError(f"there is no register {word}", hint)
        close = near(word, self.symbols.names()) if len(self.symbols) else ""
        raise RingletError(
            f"there is no symbol {word}",
            close or "an address is a number, a symbol, a register as $rsp, or FILE:LINE",
        )

    def addresses_of_line(self, name: str, number: int) -> tuple[Line, list[int]]:
        """Returns where the code of a source line begins, and that line.

        A line without code stands for the next line that has code. Raises `RingletError` if there
        is none.
        """
        lines = self.lines
        files = lines.find_file(name)
        if not files:
            known = [path.rpartition("/")[2] for path in lines.files]
            hint = near(name, known) or (
                f"the files are {', '.join(known[:8])}" if known else lines.note
            )
            raise RingletError(f"there is no source file {name}", hint)
        if len(files) > 1:
            raise RingletError(f"{name} is {' or '.join(files)}", "name more of the path")
        taken, addresses = lines.addresses_of(files[0], number)
        if not addresses:
            raise RingletError(
                f"{files[0]}:{number} has no code, nor has a line behind it", "name an earlier line"
            )
        return Line(files[0], taken), addresses


def _number(word: str) -> int | None:
    try:
        number = int(word, 0)
    except ValueError:
        return None
    if abs(number) > MASK:
        raise RingletError(
            f"{word[:40]} is no address: it has more than 64 bits", f"the last one is {MASK:#x}"
        )
    return number
