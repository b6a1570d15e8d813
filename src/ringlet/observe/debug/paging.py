"""The walk of a linear address through the guest's page tables, level by level.

The walk only reads: KVM_TRANSLATE gives the same physical address, but sets the accessed bits of
the entries on its way. Source: Intel SDM volume 3, chapter 4 (paging); 4.1.1 (the modes), 4.3
(32-bit), 4.4 (PAE), 4.5 (4-level and 5-level), 4.6 (access rights).
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from ringlet.errors import RingletError
from ringlet.kvm.cpuid import AMD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.kvm.registers import SpecialRegisters

CR0_WP, CR0_PG = 1 << 16, 1 << 31
CR4_PSE, CR4_PAE, CR4_LA57, CR4_SMEP, CR4_SMAP = 1 << 4, 1 << 5, 1 << 12, 1 << 20, 1 << 21
EFER_LMA, EFER_NXE = 1 << 10, 1 << 11

PRESENT, WRITABLE, USER, LARGE, GLOBAL, NO_EXECUTE = 1, 1 << 1, 1 << 2, 1 << 7, 1 << 8, 1 << 63

# The bits that mean the same in every entry; the bits of a page alone; then no-execute.
_FLAGS = (
    (1, "writable"),
    (2, "user"),
    (3, "write-through"),
    (4, "no-cache"),
    (5, "accessed"),
)
_PAGE_FLAGS = ((6, "dirty"), (8, "global"))
_PAT, _PAT_LARGE = 7, 12  # the bit that selects the memory type, with write-through and no-cache

_CPUID_ENTRY = Struct("<7I12x")  # struct kvm_cpuid_entry2
_FEATURES, _SIZES = 0x8000_0001, 0x8000_0008
_GIGABYTE_PAGES = 1 << 26  # in EDX of leaf 0x80000001


class Processor(NamedTuple):
    """What a processor's CPUID says of paging: it decides which bits of an entry are reserved.

    physical_bits   the number of bits of a physical address (MAXPHYADDR)
    gigabyte_pages  whether there are pages of 1 GiB
    amd             whether bit 8 of a PML5E and a PML4E is reserved (AMD APM volume 2, 5.3.3)
    """

    physical_bits: int = 52
    gigabyte_pages: bool = True
    amd: bool = False

    @classmethod
    def of(cls, cpuid: bytes) -> Processor:
        """Returns the processor that this array of struct kvm_cpuid_entry2 describes."""
        bits, gigabyte_pages = 36, False  # of a processor without these leaves (4.1.4)
        amd = False
        for function, _, _, eax, ebx, ecx, edx in _CPUID_ENTRY.iter_unpack(cpuid):
            if function == 0:
                amd = Struct("<3I").pack(ebx, edx, ecx) in AMD
            elif function == _FEATURES:
                gigabyte_pages = bool(edx & _GIGABYTE_PAGES)
            elif function == _SIZES:
                bits = eax & 0xFF
        return cls(min(max(bits, 32), 52), gigabyte_pages, amd)


class _Level(NamedTuple):
    entry: str  # the manual's name of the entry
    shift: int  # the lowest bit of the linear address that selects the entry
    width: int  # the number of bits that select it


class _Mode(NamedTuple):
    name: str
    entry_size: int
    levels: tuple[_Level, ...]


_PML5E = _Level("PML5E", 48, 9)
_PML4E = _Level("PML4E", 39, 9)
_PDPTE = _Level("PDPTE", 30, 9)
_PDE = _Level("PDE", 21, 9)
_PTE = _Level("PTE", 12, 9)

_MODES = {
    "32-bit": _Mode("32-bit", 4, (_Level("PDE", 22, 10), _Level("PTE", 12, 10))),
    "PAE": _Mode("PAE", 8, (_Level("PDPTE", 30, 2), _PDE, _PTE)),
    "4-level": _Mode("4-level", 8, (_PML4E, _PDPTE, _PDE, _PTE)),
    "5-level": _Mode("5-level", 8, (_PML5E, _PML4E, _PDPTE, _PDE, _PTE)),
}


class Step(NamedTuple):
    """One level of a walk.

    name     the manual's name of the entry, such as "PDE"
    table    the physical address of the table
    number   the entry's number in the table
    value    the entry; None if the table isn't in the guest's memory
    flags    the entry's flags, spelled out; none if the entry isn't present
    target   the physical address of the next table or of the page; None if the walk ends here
    """

    name: str
    table: int
    number: int
    value: int | None
    flags: tuple[str, ...]
    target: int | None


class Walk(NamedTuple):
    """The walk of one linear address.

    mode       "none", "32-bit", "PAE", "4-level" or "5-level"
    root       the physical address of the first table, from CR3; 0 without paging
    physical   the guest-physical address; None if the address isn't mapped
    page_size  the size in bytes of the page; 0 if the address isn't mapped, or without paging
    end        why the walk ends, one sentence without a full stop
    rights     what ring 0 and ring 3 may do with the page, one sentence; "" if there is no page
    """

    linear: int
    mode: str
    root: int
    steps: tuple[Step, ...]
    physical: int | None
    page_size: int
    end: str
    rights: str

    def lines(self) -> list[str]:
        """Returns the walk for people to read: a line for each level, then the result."""
        if self.mode == "none":
            return [f"linear {self.linear:#x}: {self.end}"]
        rows = [
            f"linear {self.linear:#x}: {self.mode} paging, CR3 names the table at {self.root:#x}"
        ]
        for step in self.steps:
            place = f"{step.name:<5} {step.number:>4} of the table at {step.table:#x}"
            if step.value is None:
                rows.append(f"{place}: no memory is there")
                continue
            target = "" if step.target is None else f" -> {step.target:#x}"
            flags = f"  {' '.join(step.flags)}" if step.flags else ""
            rows.append(f"{place}: {step.value:#x}{target}{flags}")
        rows.append(self.end)
        return [*rows, self.rights] if self.rights else rows


def mode_of(special: SpecialRegisters) -> str:
    """Returns the paging mode: "none", "32-bit", "PAE", "4-level" or "5-level" (4.1.1)."""
    if not special.cr0 & CR0_PG:
        return "none"
    if not special.cr4 & CR4_PAE:
        return "32-bit"
    if not special.efer & EFER_LMA:
        return "PAE"
    return "5-level" if special.cr4 & CR4_LA57 else "4-level"


def walk(
    linear: int,
    special: SpecialRegisters,
    read: Callable[[int, int], bytes],
    processor: Processor = Processor(),  # noqa: B008 (a value)
) -> Walk:
    """Returns the walk of the address `linear` with these special registers.

    `read(address, size)` reads guest-physical memory, and raises `RingletError` where no memory is.
    """
    name = mode_of(special)
    long = name in ("4-level", "5-level")
    linear &= (1 << 64 if long else 1 << 32) - 1
    if name == "none":
        end = "paging is off (CR0.PG = 0), the linear address is the physical address"
        return Walk(linear, name, 0, (), linear, 0, end, "")
    mode = _MODES[name]
    root = special.cr3 & _root_mask(name, processor)
    if long and not _is_canonical(linear, 57 if name == "5-level" else 48):
        end = "not mapped: the address isn't canonical, its upper bits aren't all alike"
        return Walk(linear, name, root, (), None, 0, end, "")
    steps: list[Step] = []
    table = root
    rights = PRESENT | WRITABLE | USER
    for level in mode.levels:
        index = linear >> level.shift & (1 << level.width) - 1
        value = _read_entry(read, table + index * mode.entry_size, mode.entry_size)
        is_page, end = _judge(value, name, level, special, processor)
        if end or value is None:
            steps.append(Step(level.entry, table, index, value, (), None))
            return Walk(linear, name, root, tuple(steps), None, 0, f"not mapped: {end}", "")
        if not (name == "PAE" and level.entry == "PDPTE"):  # this entry has no rights (4.4.1)
            rights = rights & (value | NO_EXECUTE) | value & NO_EXECUTE
        target = _target(value, name, level, is_page, processor)
        flags = _flags(value, name, level, is_page)
        steps.append(Step(level.entry, table, index, value, flags, target))
        if is_page:
            size = 1 << level.shift
            physical = target | linear & size - 1
            end = f"mapped: physical {physical:#x}, in a page of {_size_words(size)}"
            words = _rights_words(rights, special)
            return Walk(linear, name, root, tuple(steps), physical, size, end, words)
        table = target
    raise AssertionError("the last level is always a page")


def _root_mask(mode: str, processor: Processor) -> int:
    if mode == "32-bit":
        return 0xFFFF_F000
    if mode == "PAE":
        return 0xFFFF_FFE0
    return (1 << processor.physical_bits) - 0x1000


def _is_canonical(linear: int, bits: int) -> bool:
    """Returns whether bits 63 to `bits` - 1 are all alike (volume 1, 3.3.7.1)."""
    return linear >> bits - 1 in (0, (1 << 65 - bits) - 1)


def _read_entry(read: Callable[[int, int], bytes], address: int, size: int) -> int | None:
    try:
        return int.from_bytes(read(address, size), "little")
    except RingletError:
        return None


def _judge(
    value: int | None, mode: str, level: _Level, special: SpecialRegisters, processor: Processor
) -> tuple[bool, str]:
    """Returns whether the entry maps a page, and why the walk fails here; "" if it doesn't fail."""
    if value is None:
        return False, f"the table of the {level.entry} isn't in the guest's memory"
    if not value & PRESENT:
        return False, f"the {level.entry} isn't present (bit 0 is 0)"
    if level.entry == "PTE":
        is_page = True
    elif mode == "32-bit":
        is_page = bool(value & LARGE and special.cr4 & CR4_PSE)
    else:
        # Where there is no large page at this level, the bit is reserved.
        can = level.entry == "PDE" or (
            level.entry == "PDPTE" and mode != "PAE" and processor.gigabyte_pages
        )
        is_page = bool(value & LARGE) and can
    reserved = value & _reserved(mode, level, is_page, special, processor)
    if reserved:
        bits = ", ".join(str(bit) for bit in range(64) if reserved >> bit & 1)
        return is_page, f"the {level.entry} has reserved bits set: {bits}"
    return is_page, ""


def _reserved(
    mode: str, level: _Level, is_page: bool, special: SpecialRegisters, processor: Processor
) -> int:
    """Returns the bits of the entry that have to be 0."""
    if mode == "32-bit":  # only in the entry of a large page (4.3, figure 4-4)
        if not is_page or level.entry == "PTE":
            return 0
        above = max(processor.physical_bits - 32, 0)  # bits 20 to 13 are bits 39 to 32
        return _bits(13 + min(above, 8), 21)
    reserved = _bits(processor.physical_bits, 51)
    if mode == "PAE":
        reserved |= _bits(52, 62)
        if level.entry == "PDPTE":
            return reserved | _bits(1, 2) | _bits(5, 8) | NO_EXECUTE
    if not special.efer & EFER_NXE:
        reserved |= NO_EXECUTE
    if is_page and level.entry != "PTE":
        reserved |= _bits(_PAT_LARGE + 1, level.shift - 1)
    elif level.entry in ("PML5E", "PML4E"):
        reserved |= LARGE | (GLOBAL if processor.amd else 0)
    elif level.entry == "PDPTE":
        reserved |= LARGE
    return reserved


def _bits(first: int, last: int) -> int:
    return (1 << last + 1) - (1 << first) if first <= last else 0


def _target(value: int, mode: str, level: _Level, is_page: bool, processor: Processor) -> int:
    """Returns the physical address in an entry that has no reserved bits set."""
    if mode == "32-bit":
        if is_page and level.entry == "PDE":
            return value & 0xFFC0_0000 | (value >> 13 & 0xFF) << 32
        return value & 0xFFFF_F000
    lowest = level.shift if is_page else 12
    return value & (1 << processor.physical_bits) - (1 << lowest)


def _flags(value: int, mode: str, level: _Level, is_page: bool) -> tuple[str, ...]:
    if mode == "PAE" and level.entry == "PDPTE":  # this entry has only two flags (4.4.1)
        known = [flag for flag in _FLAGS if flag[0] in (3, 4)]
    else:
        known = [*_FLAGS, *(_PAGE_FLAGS if is_page else ())]
    names = [name for bit, name in known if value >> bit & 1]
    if is_page and value >> (_PAT if level.entry == "PTE" else _PAT_LARGE) & 1:
        names.append("PAT")
    if is_page and level.entry != "PTE":
        names.append("large")
    if mode != "32-bit" and value & NO_EXECUTE:
        names.append("no-execute")
    return ("present", *names)


def _rights_words(rights: int, special: SpecialRegisters) -> str:
    """Returns what each ring may do with the page; protection keys aside (4.6)."""
    execute = not rights & NO_EXECUTE
    writable = bool(rights & WRITABLE)
    if not rights & USER:
        ring_0 = _may(writable or not special.cr0 & CR0_WP, execute)
        return f"ring 0 may {ring_0}; ring 3 may do nothing"
    ring_3 = _may(writable, execute)
    ring_0 = _may(writable or not special.cr0 & CR0_WP, execute and not special.cr4 & CR4_SMEP)
    smap = ", with RFLAGS.AC set alone (CR4.SMAP)" if special.cr4 & CR4_SMAP else ""
    return f"ring 0 may {ring_0}{smap}; ring 3 may {ring_3}"


def _may(write: bool, execute: bool) -> str:
    rights = ["read"] + ["write"] * write + ["execute"] * execute
    return " and ".join([", ".join(rights[:-1]), rights[-1]]) if len(rights) > 1 else "read"


def _size_words(size: int) -> str:
    for shift, unit in ((30, "GiB"), (20, "MiB")):
        if size >= 1 << shift:
            return f"{size >> shift} {unit}"
    return f"{size >> 10} KiB"
