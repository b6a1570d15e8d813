"""GDB's `monitor` commands: what GDB itself has no words for.

A command is a word, such as `page`, and perhaps an address. The answer is lines of text. What comes
from the guest is escaped.
"""

from __future__ import annotations

from ringlet.errors import RingletError, near
from ringlet.machine.assembly import MAX_INSTRUCTION, bits_of, disassemble
from ringlet.observe.debug.interrupts import interrupt_lines
from ringlet.observe.debug.paging import Processor, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.observe.debug.debugger import Debugger

_CODE_LINES = 8


def monitor(debugger: Debugger, vcpu: int, command: str) -> str:
    """Returns the answer to a `monitor` command about a vCPU. Never raises `RingletError`."""
    words = command.split()
    name = words[0] if words else "help"
    try:
        if name not in _COMMANDS:
            known = near(name, _COMMANDS)
            raise RingletError(f"there is no command {name!r}", f"{known}`monitor help` shows all")
        lines = _COMMANDS[name][0](debugger, vcpu, words[1:])
    except RingletError as error:
        lines = [error.message, f"hint: {error.hint}"]
    return "".join(f"{_printable(line)}\n" for line in lines)


def _printable(line: str) -> str:
    return line if line.isprintable() else ascii(line)[1:-1]


def _help(debugger: Debugger, vcpu: int, words: list[str]) -> list[str]:
    return [f"monitor {name:<16} {text}" for name, (_, text) in _COMMANDS.items()]


def _devices(debugger: Debugger, vcpu: int, words: list[str]) -> list[str]:
    """Shows a device by name, or all: its addresses, its interrupt, and its state."""
    debugger.vcpu(vcpu)  # the guest has to stand still, or a state changes while it is copied
    lines = []
    for placed in debugger.machine.devices:
        if words and placed.name != words[0]:
            continue
        places = [f"ports {first:#x} to {first + count - 1:#x}" for first, count in placed.ports]
        places += [f"{first:#x} to {first + size - 1:#x}" for first, size in placed.mmio]
        if placed.irq is not None:
            places.append(f"IRQ {placed.irq}")
        lines.append(f"{placed.name}: {', '.join(places)}")
        state = placed.state
        if isinstance(state, dict):
            lines += [f"  {key} = {_value(value)}" for key, value in state.items()]
    if not lines:
        raise RingletError(f"there is no device {words[0]!r}", "`monitor devices` lists them")
    return lines


def _value(value: object) -> str:
    shown = f"{value:#x}" if isinstance(value, int) and not isinstance(value, bool) else repr(value)
    return shown if len(shown) <= 200 else f"{shown[:200]}..."


def _exits(debugger: Debugger, vcpu: int, words: list[str]) -> list[str]:
    return [
        f"vCPU {each.number}: "
        + (", ".join(f"{kind} {count}" for kind, count in each.exits.items()) or "none")
        for each in debugger.machine.vm.vcpus
    ]


def _page(debugger: Debugger, vcpu: int, words: list[str]) -> list[str]:
    address = _address(words)
    special = debugger.special_registers(vcpu)
    processor = Processor.of(debugger.vcpu(vcpu).cpuid)
    return walk(address, special, debugger.read_physical, processor).lines()


def _interrupts(debugger: Debugger, vcpu: int, words: list[str]) -> list[str]:
    debugger.vcpu(vcpu)  # the guest has to stand still
    return interrupt_lines(debugger.machine)


def _registers(debugger: Debugger, vcpu: int, words: list[str]) -> list[str]:
    """Shows the registers as the processor has them: RIP without the base of CS."""
    registers, special = debugger.registers(vcpu), debugger.special_registers(vcpu)
    general = [f"{name} {value:#018x}" for name, value in registers._asdict().items()]
    lines = ["  ".join(general[at : at + 3]) for at in range(0, len(general), 3)]
    for name in ("cs", "ss", "ds", "es", "fs", "gs", "tr", "ldt"):
        segment = getattr(special, name)
        lines.append(
            f"{name:<4} selector {segment.selector:#06x}  base {segment.base:#x}  limit "
            f"{segment.limit:#x}  ring {segment.dpl}" + ("  unusable" if segment.unusable else "")
        )
    for name in ("gdt", "idt"):
        table = getattr(special, name)
        lines.append(f"{name:<4} base {table.base:#x}  limit {table.limit:#x}")
    control = ("cr0", "cr2", "cr3", "cr4", "cr8", "efer", "apic_base")
    lines.append("  ".join(f"{name} {getattr(special, name):#x}" for name in control))
    own = debugger.vcpu(vcpu).debug_registers._asdict()
    return [*lines, "  ".join(f"{name} {value:#x}" for name, value in own.items())]


def _code(debugger: Debugger, vcpu: int, words: list[str]) -> list[str]:
    """Shows instructions in the mode of the vCPU; GDB itself knows 64-bit code only."""
    address = _address(words) if words else debugger.next_address(vcpu)
    code = debugger.read(address, _CODE_LINES * MAX_INSTRUCTION, vcpu)
    bits = bits_of(debugger.special_registers(vcpu))
    return [
        f"{at:#x}  {code.hex(' '):<30} {text}  {debugger.symbols.describe(at)}".rstrip()
        for at, code, text in disassemble(code, address, bits, _CODE_LINES)
    ] or [f"no memory is mapped at {address:#x}"]


def _address(words: list[str]) -> int:
    try:
        (word,) = words
        address = int(word, 16)
    except ValueError as error:
        raise RingletError("no address is named", "such as: monitor page 0x100000") from error
    if not 0 <= address < 1 << 64:
        raise RingletError(f"{word[:40]} is no address", "an address has 64 bits")
    return address


def _abilities(debugger: Debugger, vcpu: int, words: list[str]) -> list[str]:
    able = debugger.abilities
    rows = (
        ("single steps", able.step, able.step_ring_3),
        ("software breakpoints", able.step, able.trap_ring_3),
        ("hardware breakpoints", able.execute, able.execute_ring_3),
        ("watchpoints", able.watch, able.watch_ring_3),
    )

    def word(has: bool) -> str:
        return "yes" if has else "writes" if what == "watchpoints" else "no"

    lines = []
    for what, kernel, user in rows:
        lines.append(f"{what:<21} in ring 0: {word(kernel):<6}  in ring 3: {word(user)}")
    return lines


_COMMANDS = {
    "help": (_help, "this list"),
    "devices": (_devices, "each device with its registers; or `devices NAME`"),
    "code": (_code, "instructions in the vCPU's mode; or `code ADDRESS`"),
    "exits": (_exits, "the number of VM exits of each kind"),
    "page": (_page, "the walk of an address through the page tables: `page ADDRESS`"),
    "interrupts": (_interrupts, "interrupt controllers, and what waits for each vCPU"),
    "registers": (_registers, "the registers as the processor has them"),
    "abilities": (_abilities, "what this host's KVM can do to debug a guest"),
}
