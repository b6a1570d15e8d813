"""The console's commands that show the guest as it stands still."""

from __future__ import annotations

from ringlet.errors import RingletError
from ringlet.kvm.exceptions import has_error_code
from ringlet.kvm.vcpu import MP_HALTED, MP_INIT_RECEIVED, MP_RUNNABLE, MP_UNINITIALIZED
from ringlet.machine.assembly import bits_of, disassemble
from ringlet.observe.console.backtrace import GUESS, MAX_FRAMES, NOW, backtrace, stack_words
from ringlet.observe.console.tables import gdt_lines, idt, idt_lines
from ringlet.observe.debug.flags import control_lines
from ringlet.observe.debug.view import code_lines, device_lines, register_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.observe.console.backtrace import Frame
    from ringlet.observe.console.console import Console
    from ringlet.observe.console.session import Session

LIST_LINES = 10
MAX_COUNT = 4096  # bytes, words or instructions that one command shows
_BEFORE = 4  # instructions before RIP
_MP_STATES = {
    MP_RUNNABLE: "running",
    MP_UNINITIALIZED: "not started",
    MP_INIT_RECEIVED: "waits for its start-up message (SIPI)",
    MP_HALTED: "halted",
}
_NEAR = 0x40  # how far behind a symbol of no size a word of the stack may point
_ROW = 16  # bytes of memory in a line


def number(word: str, least: int, most: int) -> int:
    """Returns the number that a word is. Raises `RingletError` for anything else."""
    try:
        value = int(word, 0)
    except ValueError:
        value = -1
    if not least <= value <= most:
        raise RingletError(f"{word[:40]} is no number that fits here", f"from {least} to {most}")
    return value


def frames(session: Session) -> list[Frame]:
    """Returns the functions under way on the selected vCPU."""
    state = session.state()
    handlers = {
        gate.offset: has_error_code(gate.vector)
        for gate in idt(state.special, session.read)
        if gate.present
    }
    return backtrace(
        state.registers, state.special, session.read, session.symbols, session.lines, handlers
    )


def list_(console: Console, words: list[str]) -> None:
    """Shows the source around a place."""
    if len(words) > 1:
        raise console.usage("list")
    session = console.session
    address = session.address_of(words[0]) if words else session.state().address
    line = session.lines.at(address)
    if line is None:
        note = session.lines.note or "the debug information says nothing of this address"
        raise RingletError(f"no source line is known for {address:#x}", note)
    text = session.sources.lines(line.path)
    if text is None:
        raise RingletError(
            f"{line}: there is no such file here", "name the folder with the sources by --source"
        )
    first = max(line.number - LIST_LINES // 2, 1)
    console.show(str(line.path))
    for at in range(first, min(first + LIST_LINES, len(text) + 1)):
        mark = "=>" if at == line.number else "  "
        console.show(f"{mark} {at:>5}  {text[at - 1]}".rstrip())


def disassemble_(console: Console, words: list[str]) -> None:
    """Shows instructions at a place, or around the next one."""
    if len(words) > 2:
        raise console.usage("disassemble")
    session = console.session
    here = session.state().address
    count = number(words[1], 1, MAX_COUNT) if len(words) > 1 else LIST_LINES
    start = session.address_of(words[0]) if words else _start_before(session, here)
    found = session.instructions(start, count)
    if not found:
        raise RingletError(f"no memory is at {start:#x}", "`page` shows what is mapped there")
    for row in code_lines(found, here, session.describe):
        console.show(row)


def _start_before(session: Session, here: int) -> int:
    """Returns where some instructions before `here` begin, if the function's start is known."""
    found = session.symbols.at(here)
    if found is None or not 0 < found[1] <= MAX_COUNT:
        return here
    start = here - found[1]
    bits = bits_of(session.state().special)
    code = session.read(start, here - start)
    before = [each.address for each in disassemble(code, start, bits, MAX_COUNT)]
    # Only if the instructions come out right at `here`.
    ends = before and session.instruction(before[-1])
    if not ends or ends.address + len(ends.code) != here:
        return here
    return before[-_BEFORE] if len(before) >= _BEFORE else before[0]


def registers(console: Console, words: list[str]) -> None:
    """Shows the registers."""
    if words:
        raise console.usage("registers")
    state = console.session.state()
    for row in register_lines(state.registers, state.special):
        console.show(row)


def flags(console: Console, words: list[str]) -> None:
    """Shows RFLAGS and the control registers, each bit spelled out."""
    if words:
        raise console.usage("flags")
    state = console.session.state()
    for row in control_lines(state.registers, state.special):
        console.show(row)


def page(console: Console, words: list[str]) -> None:
    """Shows the walk of an address through the page tables."""
    if len(words) != 1:
        raise console.usage("page")
    for row in console.session.walk(console.session.address_of(words[0])).lines():
        console.show(row)


def gdt(console: Console, words: list[str]) -> None:
    """Shows the GDT."""
    if words:
        raise console.usage("gdt")
    for row in gdt_lines(console.session.state().special, console.session.read):
        console.show(row)


def idt_(console: Console, words: list[str]) -> None:
    """Shows the IDT."""
    if words:
        raise console.usage("idt")
    session = console.session
    for row in idt_lines(session.state().special, session.read, session.describe):
        console.show(row)


def stack(console: Console, words: list[str]) -> None:
    """Shows words of the stack, from its top on."""
    if len(words) > 1:
        raise console.usage("stack")
    session = console.session
    state = session.state()
    count = number(words[0], 1, MAX_COUNT) if words else 8
    found = stack_words(state.registers, state.special, session.read, count)
    for word in found:
        symbol = session.symbols.at(word.value)
        near_ = symbol is not None and (symbol[0].size or symbol[1] < _NEAR)
        place = session.describe(word.value) if near_ else ""
        shown = f"{word.address:#x}  {word.value:#0{2 + 2 * word.size}x}"
        console.show(f"{shown}  {place}".rstrip())
    if len(found) < count:
        console.show("the memory ends here")


def backtrace_(console: Console, words: list[str]) -> None:
    """Shows the functions under way, the innermost first."""
    if words:
        raise console.usage("backtrace")
    session = console.session
    found = frames(session)
    ring = found[0].ring
    for at, frame in enumerate(found):
        line = session.lines.at(frame.code)
        found_symbol = session.symbols.at(frame.code)
        place = ""
        if found_symbol is not None:
            symbol, _ = found_symbol
            place = f" {symbol.name}+{frame.address - symbol.address:#x}".removesuffix("+0x0")
        parts = [f"{frame.address:#x}{place}"]
        parts += [str(line)] if line is not None else []
        how = "" if frame.how == NOW else f"  ({frame.how})"
        change = f"  ring {frame.ring}" if frame.ring != ring else ""
        ring = frame.ring
        console.show(f"#{at}  {', '.join(parts)}{change}{how}")
    if len(found) == MAX_FRAMES and found[-1].how != GUESS:
        console.show(f"the backtrace is cut here, at {MAX_FRAMES} frames: more callers may follow")


def memory(console: Console, words: list[str]) -> None:
    """Shows bytes of memory."""
    if not 1 <= len(words) <= 2:
        raise console.usage("memory")
    session = console.session
    start = session.address_of(words[0])
    count = number(words[1], 1, MAX_COUNT) if len(words) > 1 else 4 * _ROW
    data = session.read(start, count)
    for at in range(0, len(data), _ROW):
        row = data[at : at + _ROW]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        console.show(f"{start + at:#x}  {row.hex(' '):<{3 * _ROW}} {text}")
    if len(data) < count:
        end = start + len(data)
        walk = session.walk(end)
        why = walk.end if walk.physical is None else "mapped to where no RAM is"
        message = f"no memory is at {end:#x}"
        if not data:
            raise RingletError(message, why)
        console.show(f"{message}: {why}")


def devices(console: Console, words: list[str]) -> None:
    """Lists the devices, or shows the state of one."""
    if len(words) > 1:
        raise console.usage("devices")
    for row in device_lines(console.session.machine.devices, *words):
        console.show(row)


def vcpus(console: Console, words: list[str]) -> None:
    """Lists the vCPUs, or selects one."""
    session = console.session
    all_ = session.machine.vm.vcpus
    if len(words) > 1:
        raise console.usage("vcpus")
    if words:
        session.vcpu = number(words[0], 0, len(all_) - 1)
        console.show_place(session.state().address)
        return
    for vcpu in all_:
        state = session.state(vcpu.number)
        mark = "=>" if vcpu.number == session.vcpu else "  "
        running = _MP_STATES.get(vcpu.mp_state, "in another state")
        interrupts = "on" if state.registers.rflags & 1 << 9 else "off"
        place = session.describe(state.address)
        at = f"{state.address:#x}" + (f" {place}" if place else "")
        console.show(
            f"{mark} vCPU {vcpu.number}: {running}, interrupts {interrupts}, {state.mode}, at {at}"
        )


VIEWS = (
    ("list", ("l",), "[PLACE]", "show the source", list_),
    ("disassemble", ("di",), "[PLACE [N]]", "show instructions", disassemble_),
    ("registers", ("r",), "", "show the registers", registers),
    ("flags", ("fl",), "", "spell out RFLAGS, the control registers and EFER", flags),
    ("page", ("p",), "PLACE", "walk the page tables for an address, level by level", page),
    ("gdt", (), "", "show the segments", gdt),
    ("idt", (), "", "show the handlers of exceptions and interrupts", idt_),
    ("stack", ("st",), "[N]", "show N words from the top of the stack on", stack),
    ("backtrace", ("bt",), "", "show which functions called each other", backtrace_),
    ("memory", ("m", "x"), "PLACE [BYTES]", "show memory", memory),
    ("devices", ("dev",), "[NAME]", "list the devices, or show the state of one", devices),
    ("vcpus", ("v",), "[NUMBER]", "list the vCPUs, or look at another one", vcpus),
)
