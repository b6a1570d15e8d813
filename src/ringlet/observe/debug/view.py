"""What people see of a guest that stands still: registers, code and devices, as lines of text.

The console and the GDB server show the same lines.
"""

from __future__ import annotations

from ringlet.errors import RingletError, near
from ringlet.machine.assembly import bits_of
from ringlet.observe.debug.flags import CR0, CR4, EFER, names, rflags_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ringlet.board.board import Placed
    from ringlet.kvm.registers import Registers, SpecialRegisters
    from ringlet.machine.assembly import Instruction

_MAX_VALUE = 200  # characters of a device's value that are shown


def register_lines(registers: Registers, special: SpecialRegisters) -> list[str]:
    """Returns the registers as the processor has them: RIP without the base of CS."""
    r, s = registers, special
    width = 16 if bits_of(s) == 64 else 8
    rows = (
        ("rax", "rbx", "rcx", "rdx"),
        ("rsi", "rdi", "rbp", "rsp"),
        *((("r8", "r9", "r10", "r11"), ("r12", "r13", "r14", "r15")) if width == 16 else ()),
    )
    lines = [f"rip {r.rip:0{width}x}  rflags {r.rflags:x} ({rflags_names(r.rflags)})"]
    lines += ["  ".join(f"{name:<3} {getattr(r, name):0{width}x}" for name in row) for row in rows]
    for name in ("cs", "ss", "ds", "es", "fs", "gs"):
        segment = getattr(s, name)
        if segment.unusable:
            lines.append(f"{name} {segment.selector:04x}  unusable")
            continue
        reach = f"base {segment.base:x} limit {segment.limit:x} "
        if width == 16 and name not in ("fs", "gs"):
            reach = ""  # 64-bit mode ignores both
        lines.append(f"{name} {segment.selector:04x}  {reach}ring {segment.dpl}")
    return [
        *lines,
        f"cr0 {s.cr0:x} ({names(s.cr0, CR0)})  cr2 {s.cr2:x}  cr3 {s.cr3:x}",
        f"cr4 {s.cr4:x} ({names(s.cr4, CR4)})  efer {s.efer:x} ({names(s.efer, EFER)})",
        f"gdt {s.gdt.base:x} limit {s.gdt.limit:x}  idt {s.idt.base:x} limit {s.idt.limit:x}  "
        f"tr {s.tr.selector:04x} base {s.tr.base:x}",
    ]


def code_lines(
    instructions: Iterable[Instruction], here: int, describe: Callable[[int], str]
) -> list[str]:
    """Returns the instructions, with the name of each function before its first instruction.

    `here` is the address of the next instruction, which gets a mark. `describe` returns the symbol
    and the offset of an address.
    """
    lines = []
    function = ""
    for instruction in instructions:
        place = describe(instruction.address)
        name = place.partition("+")[0]
        if name != function:
            lines.append(f"{place}:" if place else "no symbol:")
            function = name
        mark = "=>" if instruction.address == here else "  "
        code = instruction.code.hex(" ")
        lines.append(f"{mark} {instruction.address:#x}  {instruction.text:<40} {code}".rstrip())
    return lines


def device_lines(devices: Sequence[Placed], name: str | None = None) -> list[str]:
    """Returns all devices with their places, or the state of the device `name`.

    Raises `RingletError` if there is no such device, or if KVM keeps its state.
    """
    if name is None:
        return [_device_line(each) for each in devices]
    placed = {each.name: each for each in devices}
    found = placed.get(name)
    if found is None:
        hint = near(name, placed) or "`devices` lists them"
        raise RingletError(f"there is no device {name}", hint)
    if found.device is None:
        raise RingletError(f"{found.name} is in KVM, which keeps its state", "look at another one")
    state = found.state
    if state is None:
        return [f"{found.name}: nothing in it changes"]
    if not isinstance(state, dict):
        return []
    return [f"{key:<20} {_shown(value)}" for key, value in state.items()]


def _device_line(placed: Placed) -> str:
    places = [_range("port", *part) for part in placed.ports]
    places += [_range("memory", *part) for part in placed.mmio]
    places += [] if placed.irq is None else [f"interrupt {placed.irq}"]
    owner = "  (in KVM)" if placed.device is None else ""
    return f"{placed.name:<16} {', '.join(places)}{owner}"


def _range(what: str, first: int, count: int) -> str:
    return f"{what} {first:#x}" + (f" to {first + count - 1:#x}" if count > 1 else "")


def _shown(value: object) -> str:
    text = f"{value:#x}" if isinstance(value, int) and not isinstance(value, bool) else repr(value)
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}..."
