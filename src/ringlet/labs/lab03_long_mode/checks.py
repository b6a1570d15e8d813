"""The checks of lab 3: one run of the guest, and the vCPU at its three checkpoints.

Source: Intel SDM volume 3, 2.5 (control registers), 3.4.5 (segment descriptors), 4.5 (4-level
paging), 10.8.5 (initializing IA-32e mode); AMD64 APM volume 2, 14.6.1.
"""

from __future__ import annotations

from ringlet.labs.check import Check, Failed
from ringlet.labs.guest import boot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.kvm.registers import Segment, SpecialRegisters
    from ringlet.labs.guest import Run
    from ringlet.labs.work import Work

MEMORY = 4 << 20
MAX_IMAGE = 64 << 10
BUILD = (
    "sh",
    "-c",
    "gcc -c -Wa,-mx86-used-note=no guest.S -o /tmp/guest.o >&2 && "
    "ld -N -Ttext=0x7c00 -e 0x7c00 --oformat binary /tmp/guest.o -o /tmp/guest.bin >&2 && "
    "cat /tmp/guest.bin",
)
PROTECTED, LONG, UPPER = 1, 2, 3  # the checkpoints
UPPER_HALF = 0xFFFF_FFFF_8000_0000
_PAGE, _LARGE = 4096, 2 << 20
_CR0_PE, _CR0_PG, _CR4_PAE, _EFER_LME, _EFER_LMA = 1, 1 << 31, 1 << 5, 1 << 8, 1 << 10
_PRESENT, _WRITABLE, _IS_PAGE = 1, 2, 1 << 7
_ADDRESS = 0x000F_FFFF_FFFF_F000


def _run(work: Work) -> Run:
    """Returns the one run of the guest, which all checks share."""
    image = work.build(*BUILD, most=MAX_IMAGE)
    if not image:
        raise Failed("the build makes an empty image: there is no code in guest.S")
    return work.once(boot, image, MEMORY, "flat")


def _require(*wrong: tuple[bool, str]) -> None:
    """Raises `Failed` with all that is wrong."""
    found = [what for is_wrong, what in wrong if is_wrong]
    if found:
        raise Failed("; ".join(found))


def _require_paging(special: SpecialRegisters) -> None:
    _require(
        (not special.cr4 & _CR4_PAE, "CR4.PAE is 0"),
        (not special.efer & _EFER_LME, "EFER.LME is 0"),
        (not special.cr0 & _CR0_PG, "CR0.PG is 0"),
        (not special.efer & _EFER_LMA, "EFER.LMA is 0, so long mode isn't active"),
    )


def is_protected(work: Work) -> str:
    """At checkpoint 1 the vCPU runs 32-bit code of a flat segment."""
    special = _run(work).at(PROTECTED).special
    cs, ds = special.cs, special.ds
    _require(
        (not special.cr0 & _CR0_PE, "CR0.PE is 0: the processor is in real mode"),
        (not cs.db or bool(cs.l), "CS isn't a 32-bit code segment: no far jump has loaded one"),
        (cs.base != 0 or cs.limit != 0xFFFF_FFFF, f"CS has base {cs.base:#x}, limit {cs.limit:#x}"),
        (ds.base != 0 or ds.limit != 0xFFFF_FFFF, f"DS has base {ds.base:#x}, limit {ds.limit:#x}"),
        (not _is_writable_data(ds), "DS isn't a writable data segment"),
    )
    return f"CR0 is {special.cr0:#x}, CS {cs.selector:#x} and DS {ds.selector:#x} are flat"


def _is_writable_data(segment: Segment) -> bool:
    return bool(segment.present and segment.s and not segment.type & 8 and segment.type & 2)


def has_gdt(work: Work) -> str:
    """At checkpoint 1 the GDT in memory has the descriptors of the segments that are loaded."""
    run = _run(work)
    special = run.at(PROTECTED).special
    base, limit = special.gdt
    for name, segment in (("CS", special.cs), ("DS", special.ds)):
        at = segment.selector & ~7
        if not special.cr0 & _CR0_PE or not at:
            raise Failed(f"{name} is {segment.selector:#x}, which is no entry of a GDT")
        if at + 7 > limit:
            raise Failed(f"{name} is {at:#x}, and the GDT ends at {limit:#x}: see its limit")
        descriptor = int.from_bytes(run.memory[base + at : base + at + 8], "little")
        if not descriptor >> 47 & 1:
            raise Failed(f"the GDT's entry {at:#x} for {name} isn't present: {descriptor:#018x}")
    return f"the GDT at {base:#x}, limit {limit:#x}, has CS and DS"


def is_long(work: Work) -> str:
    """At checkpoint 2 long mode is active."""
    special = _run(work).at(LONG).special
    _require_paging(special)
    return f"CR0 is {special.cr0:#x}, CR4 {special.cr4:#x}, EFER {special.efer:#x}"


def maps_itself(work: Work) -> str:
    """At checkpoint 2 each page of the first 2 MiB is mapped to itself, writable."""
    run = _run(work)
    special = run.at(LONG).special
    _require_paging(special)
    for address in range(0, _LARGE, _PAGE):
        physical = translate(run.memory, special.cr3, address)
        if physical != address:
            where = "nowhere" if physical is None else f"to {physical:#x}"
            raise Failed(f"CR3 is {special.cr3:#x}; address {address:#x} is mapped {where}")
    return f"the tables at {special.cr3:#x} map 0 to 0x1fffff to themselves"


def runs_64_bit_code(work: Work) -> str:
    """At checkpoint 2 CS is a 64-bit code segment."""
    special = _run(work).at(LONG).special
    _require(
        (not special.efer & _EFER_LMA, "long mode isn't active"),
        (not special.cs.l, "CS.L is 0: in long mode, this is compatibility mode, of 16 or 32 bits"),
        (bool(special.cs.db), "CS.D is 1, which has no meaning together with CS.L"),
    )
    return f"CS is {special.cs.selector:#x}, a 64-bit code segment"


def runs_above(work: Work) -> str:
    """At checkpoint 3 the code runs in the upper 2 GiB, at the same physical memory."""
    run = _run(work)
    registers, special = run.at(UPPER)
    _require_paging(special)
    if registers.rip < UPPER_HALF:
        raise Failed(f"RIP is {registers.rip:#x}, below {UPPER_HALF:#x}")
    physical = translate(run.memory, special.cr3, registers.rip)
    if physical != registers.rip - UPPER_HALF:
        raise Failed(f"the tables in memory don't map RIP, {registers.rip:#x}, to the guest's code")
    return f"RIP is {registers.rip:#x}, at physical address {physical:#x}"


def ends_well(work: Work) -> str:
    """After checkpoint 3, the guest ends the run with status 0."""
    run = _run(work)
    registers, special = run.at(UPPER)
    if not special.efer & _EFER_LMA or registers.rip < UPPER_HALF:
        raise Failed("checkpoint 3 wasn't in the upper half")
    if run.status != 0:
        raise Failed(run.end)
    return "the guest wrote 0 to the exit port"


def translate(memory: bytes, cr3: int, address: int) -> int | None:
    """Returns the physical address of a writable page, by the tables of 4-level paging in `memory`.

    None if the address isn't mapped, or not writable, or if a table isn't in memory.
    """
    table = cr3 & _ADDRESS
    for shift in (39, 30, 21, 12):
        at = table + (address >> shift & 0x1FF) * 8
        if at + 8 > len(memory):
            return None
        entry = int.from_bytes(memory[at : at + 8], "little")
        if not entry & _PRESENT or not entry & _WRITABLE:
            return None
        if shift == 12 or (entry & _IS_PAGE and shift < 39):
            inside = (1 << shift) - 1
            return (entry & _ADDRESS & ~inside) | (address & inside)
        table = entry & _ADDRESS
    raise AssertionError


CHECKS = (
    Check(
        "checkpoint 1: 32-bit protected mode",
        1,
        20,
        "CR0.PE is 1; CS is flat 32-bit code, and DS is flat writable data",
        "set CR0.PE, then jump far to a 32-bit code segment, then load DS",
        is_protected,
    ),
    Check(
        "checkpoint 1: the GDT has the segments",
        1,
        10,
        "the selectors in CS and DS are present entries of the GDT in memory",
        "lgdt takes a limit (the last valid offset) and a base; entry 0 is never used",
        has_gdt,
    ),
    Check(
        "checkpoint 2: long mode is active",
        2,
        20,
        "CR4.PAE, EFER.LME, EFER.LMA and CR0.PG are 1",
        "in this order: CR4.PAE, CR3, EFER.LME (MSR 0xc0000080), CR0.PG",
        is_long,
    ),
    Check(
        "checkpoint 2: the first 2 MiB are mapped to themselves",
        2,
        15,
        "the page tables in memory, from CR3 on, map addresses 0 to 0x1fffff to themselves, "
        "writable",
        "each entry needs Present and Writable (3); an entry for a 2 MiB page has bit 7 too",
        maps_itself,
    ),
    Check(
        "checkpoint 2: 64-bit code",
        2,
        15,
        "CS.L is 1 and CS.D is 0",
        "after CR0.PG, jump far to a code segment whose descriptor has L = 1 and D = 0",
        runs_64_bit_code,
    ),
    Check(
        "checkpoint 3: code runs in the upper half",
        3,
        15,
        "RIP is at or above 0xffffffff80000000, and the tables map RIP to the guest's code",
        "0xffffffff80000000 is entry 511 of the first table and entry 510 of the second",
        runs_above,
    ),
    Check(
        "the run ends with status 0, after checkpoint 3",
        3,
        5,
        "a 0 in the exit port, 0xf4, from the upper half",
        "write AL = 0 to port 0xf4",
        ends_well,
    ),
)
