"""GDB's `monitor` commands: what GDB itself has no words for.

A command is a word, such as `page`, and perhaps an address. The answer is lines of text. What comes
from the guest is escaped.
"""

from __future__ import annotations

from ringlet.errors import RingletError, near
from ringlet.machine.assembly import MAX_INSTRUCTION, bits_of, disassemble
from ringlet.observe.debug.interrupts import interrupt_lines
from ringlet.observe.debug.paging import Processor, walk
from ringlet.observe.debug.state import State
from ringlet.observe.debug.view import code_lines, device_lines, register_lines

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
            hint = near(name, _COMMANDS, "`monitor help` shows all")
            raise RingletError(f"there is no command {name!r}", hint)
        lines = _COMMANDS[name][0](debugger, vcpu, words[1:])
    except RingletError as error:
        lines = [error.message, f"hint: {error.hint}"]
    return "".join(f"{_printable(line)}\n" for line in lines)


def _printable(line: str) -> str:
    return line if line.isprintable() else ascii(line)[1:-1]


def _help(debugger: Debugger, vcpu: int, words: list[str]) -> list[str]:
    return [f"monitor {name:<16} {text}" for name, (_, text) in _COMMANDS.items()]


def _devices(debugger: Debugger, vcpu: int, words: list[str]) -> list[str]:
    debugger.vcpu(vcpu)  # the guest has to stand still, or a state changes while it is copied
    return device_lines(debugger.machine.devices, *words[:1])


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
    lines = walk(address, special, debugger.read_physical, processor).lines()
    return [f"vCPU {vcpu}: {lines[0]}", *lines[1:]]


def _interrupts(debugger: Debugger, vcpu: int, words: list[str]) -> list[str]:
    debugger.vcpu(vcpu)  # the guest has to stand still
    return interrupt_lines(debugger.machine)


def _registers(debugger: Debugger, vcpu: int, words: list[str]) -> list[str]:
    state = State.of(debugger, vcpu)
    special, own = state.special, debugger.vcpu(vcpu).debug_registers._asdict()
    return [
        f"vCPU {vcpu}: {state.mode}",
        *register_lines(state.registers, special),
        f"cr8 {special.cr8:x}  apic_base {special.apic_base:x}  ldt {special.ldt.selector:04x} "
        f"base {special.ldt.base:x}",
        "  ".join(f"{name} {value:x}" for name, value in own.items()),
    ]


def _code(debugger: Debugger, vcpu: int, words: list[str]) -> list[str]:
    """Shows instructions in the mode of the vCPU; GDB itself knows 64-bit code only."""
    state = State.of(debugger, vcpu)
    address = _address(words) if words else state.address
    code = debugger.read(address, _CODE_LINES * MAX_INSTRUCTION, vcpu)
    found = disassemble(code, address, bits_of(state.special), _CODE_LINES)
    if not found:
        raise RingletError(f"no memory is mapped at {address:#x}", "`monitor page` says why")
    lines = code_lines(found, state.address, debugger.symbols.describe)
    return [f"vCPU {vcpu}: {state.mode}", *lines]


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
    "devices": (_devices, "the devices with their places; `devices NAME`: the state of one"),
    "code": (_code, "the next instructions, in the vCPU's mode; or `code ADDRESS`"),
    "exits": (_exits, "the number of VM exits of each kind"),
    "page": (_page, "the walk of an address through the page tables: `page ADDRESS`"),
    "interrupts": (_interrupts, "interrupt controllers, and what waits for each vCPU"),
    "registers": (_registers, "the registers as the processor has them"),
    "abilities": (_abilities, "what this host's KVM can do to debug a guest"),
}
