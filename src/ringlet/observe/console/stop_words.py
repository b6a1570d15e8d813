"""A stop of the guest in words: why it stopped, what an exit accessed, and what has changed."""

from __future__ import annotations

from ringlet.board.device import register_name
from ringlet.kvm import exits
from ringlet.observe.debug import stop as stops
from ringlet.observe.debug.flags import CR0, CR4, EFER, names, rflags_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.board.board import Placed
    from ringlet.kvm.exits import Exit
    from ringlet.machine.machine import Machine
    from ringlet.observe.debug.state import State
    from ringlet.observe.debug.stop import Stop

_MAX_TEXT = 64  # characters of a string that the guest writes
_CHARACTERS = (" THR", " RBR")  # registers of a UART
_SEGMENTS = ("cs", "ss", "ds", "es", "fs", "gs", "tr", "ldt")
_NAMED = {"cr0": CR0, "cr4": CR4, "efer": EFER}


def exit_words(machine: Machine, exit: Exit, reply: int) -> str:
    """Returns a VM exit in words, such as "writes 0x48 'H' to port 0x3f8, com1 THR"."""
    match exit:
        case exits.PortRead(port, size):
            place = _port(machine, port, False)
            return f"reads {_value(reply, size, place)} from {place}"
        case exits.PortWrite(port, size, value):
            place = _port(machine, port, True)
            return f"writes {_value(value, size, place)} to {place}"
        case exits.PortStringRead(port, size, repeat):
            return f"reads {repeat} times {size} bytes from {_port(machine, port, False)}"
        case exits.PortStringWrite(port, size, repeat, data):
            text = ascii(data[:_MAX_TEXT].decode("latin-1"))
            more = "..." if len(data) > _MAX_TEXT else ""
            times = f"{repeat} times {size} bytes" if size > 1 else f"{repeat} bytes"
            return f"writes {times} to {_port(machine, port, True)}: {text}{more}"
        case exits.MmioRead(address, size):
            return f"reads {_value(reply, size)} from {_mmio(machine, address, False)}"
        case exits.MmioWrite(address, size, value):
            return f"writes {_value(value, size)} to {_mmio(machine, address, True)}"
        case _:
            return str(exit)


def _value(value: int, size: int, place: str = "") -> str:
    value &= (1 << 8 * size) - 1
    shown = f"{value:#0{2 + 2 * size}x}"
    is_character = size == 1 and place.endswith(_CHARACTERS) and 0x20 <= value < 0x7F
    return f"{shown} {chr(value)!r}" if is_character else shown


def _port(machine: Machine, port: int, write: bool) -> str:
    for placed in machine.devices:
        for first, count in placed.ports:
            if first <= port < first + count:
                return f"port {port:#x}, {_register(placed, port - first, write)}"
    return f"port {port:#x}, which no device claims"


def _mmio(machine: Machine, address: int, write: bool) -> str:
    for placed in machine.devices:
        for first, size in placed.mmio:
            if first <= address < first + size:
                return f"address {address:#x}, {_register(placed, address - first, write)}"
    return f"address {address:#x}, where no device and no RAM is"


def _register(placed: Placed, offset: int, write: bool) -> str:
    if placed.device is None:
        return placed.name
    return f"{placed.name} {register_name(placed.device, offset, write)}"


def stop_words(machine: Machine, stop: Stop) -> str:
    """Returns why the guest stopped, in one line; "" for a step that did nothing else."""
    match stop.reason:
        case stops.START:
            return "stopped before the first instruction"
        case stops.BREAKPOINT:
            return "breakpoint"
        case stops.WATCHPOINT:
            return f"watchpoint: the memory at {stop.data or 0:#x} was accessed"
        case stops.EXIT if stop.exit is not None:
            return f"VM exit: the guest {exit_words(machine, stop.exit, stop.reply)}"
        case stops.INTERRUPT:
            return "interrupted"
        case stops.CRASH:
            return f"the guest crashed: {stop.detail}"
        case stops.END:
            return _end_words(machine, stop)
        case _:
            return stop.detail


def _end_words(machine: Machine, stop: Stop) -> str:
    end = machine.control.end
    error = machine.control.error
    if error is not None:
        return f"the run is over: {error}"
    status = "" if end is None else f", status {end.status}"
    return f"the run is over: {stop.detail}{status}"


def changes(before: State, after: State) -> list[str]:
    """Returns the registers that differ, but for RIP, such as "rax 0x0 -> 0x28"."""
    rows = []
    old, new = before.registers, after.registers
    for name in old._fields:
        first, second = getattr(old, name), getattr(new, name)
        if first == second or name == "rip":
            continue
        if name == "rflags":
            words = [rflags_names(value).replace("-", "none") for value in (first, second)]
            rows.append(f"rflags {words[0]} -> {words[1]}")
        else:
            rows.append(f"{name} {first:#x} -> {second:#x}")
    was, now = before.special, after.special
    for name in _SEGMENTS:
        one, other = getattr(was, name), getattr(now, name)
        if one.selector != other.selector:
            rows.append(f"{name} {one.selector:#x} -> {other.selector:#x}")
        elif one.base != other.base:
            rows.append(f"{name} base {one.base:#x} -> {other.base:#x}")
    for name in ("cr0", "cr2", "cr3", "cr4", "efer", "cr8"):
        first, second = getattr(was, name), getattr(now, name)
        if first == second:
            continue
        if name in _NAMED:
            on = names(second & ~first, _NAMED[name]).replace(" ", ", ")
            off = names(first & ~second, _NAMED[name]).replace(" ", ", ")
            parts = [f"{on} on"] * (on != "-") + [f"{off} off"] * (off != "-")
            rows.append(f"{name} {' and '.join(parts) or f'{first:#x} -> {second:#x}'}")
        else:
            rows.append(f"{name} {first:#x} -> {second:#x}")
    for name in ("gdt", "idt"):
        table, other = getattr(was, name), getattr(now, name)
        if table != other:
            rows.append(f"{name} at {table.base:#x} -> {other.base:#x}")
    return rows
