"""The descriptor tables decoded: the segments of the GDT, and the gates of the IDT.

Source: Intel SDM volume 3, 3.4.5 and 3.5 (segment and system descriptors), 6.11 (gates of
protected mode), 6.14.1 (gates of long mode), 20.1.4 (the interrupt table of real mode).
"""

from __future__ import annotations

from typing import NamedTuple

from ringlet.kvm.exceptions import vector_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringlet.kvm.registers import SpecialRegisters

CR0_PE = 1
EFER_LMA = 1 << 10
MAX_VECTORS = 256

_SYSTEM = {
    1: "16-bit TSS, available",
    2: "LDT",
    3: "16-bit TSS, busy",
    4: "16-bit call gate",
    5: "task gate",
    6: "16-bit interrupt gate",
    7: "16-bit trap gate",
    9: "32-bit TSS, available",
    11: "32-bit TSS, busy",
    12: "32-bit call gate",
    14: "32-bit interrupt gate",
    15: "32-bit trap gate",
}
_SYSTEM_LONG = {
    2: "LDT",
    9: "64-bit TSS, available",
    11: "64-bit TSS, busy",
    12: "64-bit call gate",
    14: "64-bit interrupt gate",
    15: "64-bit trap gate",
}
_CALL_GATES = (4, 12)
_GATES = (5, 6, 7, 14, 15)
_TASK_GATE = 5


class Descriptor(NamedTuple):
    """One entry of the GDT.

    kind    the segment's kind in words, such as "code, 64-bit, execute and read"
    base    the linear address of the segment; 0 for a call gate
    limit   the last valid offset of the segment; None where the processor ignores the limit
    """

    selector: int
    raw: int
    present: bool
    dpl: int
    kind: str
    base: int
    limit: int | None

    def line(self) -> str:
        """Returns the entry for people to read."""
        if self.selector == 0:
            return f"0x0000  the null descriptor ({self.raw:#x})"
        words = [self.kind, f"ring {self.dpl}" if self.present else "not present"]
        if self.base or self.limit is not None:
            words.append(f"base {self.base:#x}")
        if self.limit is not None:
            words.append(f"limit {self.limit:#x}")
        return f"{self.selector:#06x}  {', '.join(words)}"


class Gate(NamedTuple):
    """One entry of the IDT, or of the interrupt table of real mode.

    kind    "64-bit interrupt gate" and the like, "not a gate", or "real mode" for a far pointer
    ist     the number of the stack in the TSS that the handler gets; 0 for none
    """

    vector: int
    present: bool
    kind: str
    selector: int
    offset: int
    dpl: int
    ist: int

    def words(self, handler: str = "") -> str:
        """Returns the entry in words; `handler` is the name of its function."""
        if not self.present:
            return "not present"
        place = f"{self.selector:#06x}:{self.offset:#x}" + (f" ({handler})" if handler else "")
        if self.kind == "real mode":
            return place
        ist = f", stack {self.ist} of the TSS" if self.ist else ""
        return f"{self.kind} to {place}, `int` from ring {self.dpl}{ist}"

    def is_like(self, other: Gate) -> bool:
        """Returns whether another vector's entry is the same, or neither is present."""
        return self.present == other.present and (not self.present or self[1:] == other[1:])


def gdt(special: SpecialRegisters, read: Callable[[int, int], bytes]) -> list[Descriptor]:
    """Returns the entries of the GDT that aren't zero, at most 8192.

    `read(address, size)` reads linear memory, and returns fewer bytes where it isn't mapped.
    """
    data = read(special.gdt.base, special.gdt.limit + 1)
    long = bool(special.efer & EFER_LMA)
    found = []
    start = 0
    while start + 8 <= len(data):
        raw = int.from_bytes(data[start : start + 8], "little")
        selector = start
        start += 8
        if raw == 0 and selector != 0:
            continue
        is_system = not raw >> 44 & 1
        upper = 0
        if long and is_system and selector != 0:  # the second half has the upper half of the base
            upper = int.from_bytes(data[start : start + 4], "little")
            start += 8
        found.append(_descriptor(selector, raw, upper, long))
    return found


def _descriptor(selector: int, raw: int, upper: int, long: bool) -> Descriptor:
    base = raw >> 16 & 0xFF_FFFF | (raw >> 56 & 0xFF) << 24
    limit = raw & 0xFFFF | (raw >> 48 & 0xF) << 16
    if raw >> 55 & 1:  # G: the limit counts pages
        limit = limit << 12 | 0xFFF
    kind = raw >> 40 & 0xF
    present, dpl = bool(raw >> 47 & 1), raw >> 45 & 3
    if raw >> 44 & 1:
        words, flat = _segment_words(kind, bool(raw >> 53 & 1), bool(raw >> 54 & 1), long)
        if flat:
            return Descriptor(selector, raw, present, dpl, words, 0, None)
        return Descriptor(selector, raw, present, dpl, words, base, limit)
    name = (_SYSTEM_LONG if long else _SYSTEM).get(kind, f"reserved type {kind}")
    if kind in _CALL_GATES:
        offset = raw & 0xFFFF | raw >> 48 << 16 | upper << 32
        name += f" to {raw >> 16 & 0xFFFF:#x}:{offset:#x}"
        return Descriptor(selector, raw, present, dpl, name, 0, None)
    return Descriptor(selector, raw, present, dpl, name, base | upper << 32, limit)


def _segment_words(kind: int, is_long: bool, is_big: bool, long: bool) -> tuple[str, bool]:
    """Returns the kind in words, and whether the processor ignores base and limit."""
    if not kind & 8:
        words = f"data, read{' and write' if kind & 2 else ''}"
        if kind & 4:
            words += ", expands down"
        return words, long
    bits = 64 if long and is_long else 32 if is_big else 16
    words = f"code, {bits}-bit, execute{' and read' if kind & 2 else ''}"
    if kind & 4:
        words += ", conforming"
    return words, bits == 64


def idt(special: SpecialRegisters, read: Callable[[int, int], bytes]) -> list[Gate]:
    """Returns the entries of the IDT, at most 256; in real mode, those of the interrupt table.

    `read(address, size)` reads linear memory, and returns fewer bytes where it isn't mapped.
    """
    size = 4 if not special.cr0 & CR0_PE else 16 if special.efer & EFER_LMA else 8
    data = read(special.idt.base, min(special.idt.limit + 1, MAX_VECTORS * size))
    return [
        _gate(vector, data[vector * size : (vector + 1) * size])
        for vector in range(len(data) // size)
    ]


def _gate(vector: int, data: bytes) -> Gate:
    raw = int.from_bytes(data, "little")
    selector = raw >> 16 & 0xFFFF
    if len(data) == 4:
        return Gate(vector, True, "real mode", selector, raw & 0xFFFF, 0, 0)
    long = len(data) == 16
    kind = raw >> 40 & 0xF
    offset = raw & 0xFFFF | (raw >> 48 & 0xFFFF) << 16
    ist = 0
    if long:
        offset |= (raw >> 64 & 0xFFFF_FFFF) << 32
        ist = raw >> 32 & 7
    is_gate = not raw >> 44 & 1 and kind in _GATES and not (long and kind not in (14, 15))
    name = (_SYSTEM_LONG if long else _SYSTEM)[kind] if is_gate else f"not a gate (type {kind})"
    if is_gate and kind == _TASK_GATE:
        offset = 0
    return Gate(vector, bool(raw >> 47 & 1), name, selector, offset, raw >> 45 & 3, ist)


def gdt_lines(special: SpecialRegisters, read: Callable[[int, int], bytes]) -> list[str]:
    """Returns the GDT for people to read, and which of its entries the segment registers name."""
    table = special.gdt
    rows = [f"GDT at {table.base:#x}, {(table.limit + 1) // 8} entries"]
    if not special.cr0 & CR0_PE:
        return [f"{rows[0]}; real mode doesn't use the GDT"]
    uses: dict[int, list[str]] = {}
    for name in ("cs", "ss", "ds", "es", "fs", "gs", "tr", "ldt"):
        uses.setdefault(getattr(special, name).selector & ~7, []).append(name)
    entries = gdt(special, read)
    for entry in entries:
        used = ", ".join(uses.get(entry.selector, ())) if entry.selector else ""
        rows.append(f"  {entry.line()}" + (f"  <- {used}" if used else ""))
    if not entries:
        rows.append("  no memory is there, or each entry is 0")
    return rows


def idt_lines(
    special: SpecialRegisters,
    read: Callable[[int, int], bytes],
    describe: Callable[[int], str] = lambda _: "",
) -> list[str]:
    """Returns the IDT for people to read; `describe(address)` names the function there.

    Entries in a row that are alike share a line.
    """
    gates = idt(special, read)
    rows = [f"IDT at {special.idt.base:#x}, {len(gates)} entries"]
    if not special.cr0 & CR0_PE:
        rows[0] = f"interrupt table of real mode at {special.idt.base:#x}, {len(gates)} entries"
    for first, last, gate in _runs(gates):
        base = gate.selector << 4 if gate.kind == "real mode" else 0
        handler = describe(base + gate.offset) if gate.present else ""
        head = vector_name(first) if first == last else f"to {last:#04x}"
        join = "  " if first == last else " "
        rows.append(f"  {first:#04x}{join}{head}: {gate.words(handler)}")
    if not gates:
        empty = special.idt.limit == 0 or "no memory is there"
        rows.append(
            f"  {'it is empty' if empty is True else empty}: an exception is a triple fault"
        )
    return rows


def _runs(gates: list[Gate]) -> Iterator[tuple[int, int, Gate]]:
    """Yields the first and the last vector of entries in a row that are alike, and their gate."""
    start = 0
    for at in range(1, len(gates) + 1):
        if at == len(gates) or not gates[at].is_like(gates[start]):
            yield start, at - 1, gates[start]
            start = at
