"""The checks of lab 4: the guest's page tables in memory, and a VMM's memory as the host knows it.

The guest runs programs that were made for this run: code of the grader's, which uses random
addresses. Free memory has rubbish in it before the run. Every access of 8 bytes is aligned, so
that it is in one page.

Source: Intel SDM volume 3, 4.5 (4-level paging), 4.7 (page-fault exceptions), 4.8 (accessed and
dirty flags).
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import NamedTuple

from ringlet.labs.check import Check, Failed
from ringlet.labs.lab04_memory.outside import finds_dirty, finds_taken, translates
from ringlet.labs.watch import watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.labs.watch import Watched
    from ringlet.labs.work import Work
    from ringlet.machine.machine import Machine

MEMORY = 16 << 20
MAX_IMAGE = 256 << 10
STARTER = Path(__file__).parent / "starter"
FILES = (STARTER / "start.S", STARTER / "pc.h")
BUILD = (
    "sh",
    "-c",
    "gcc -std=gnu11 -O1 -g -ffreestanding -mno-red-zone -mgeneral-regs-only -fno-stack-protector "
    "-fno-pic -fcf-protection=none -fno-asynchronous-unwind-tables -nostdlib -static -no-pie "
    "-Wl,--build-id=none -Wl,-z,noseparate-code -Wl,-z,max-page-size=4096 "
    "-Wl,-Ttext-segment=0x100000 -Wl,-e,pvh_start -Wa,-mx86-used-note=no start.S guest.c "
    "-o /tmp/guest.elf >&2 && cat /tmp/guest.elf",
)
MAPPED, FAULT, REPORT = 1, 2, 0x80  # the checkpoints; the last one is the grader's program's
HEAP, HEAP_END = 0x4000_0000, 0x8000_0000
FRAMES, FRAMES_END = 0x40_0000, 0x50_0000
BAD_ADDRESS, NO_MEMORY = 14, 12  # statuses
_PAGE = 4096
_PRESENT, _WRITABLE, _LARGE = 1, 2, 1 << 7
_ADDRESS = 0x000F_FFFF_FFFF_F000
_PAGES = 40  # that a program uses
_MASK = (1 << 64) - 1


class Visit(NamedTuple):
    """The machine at a checkpoint: the registers that the grader needs, and its page tables."""

    number: int
    rbx: int
    cr2: int
    cr3: int
    memory: bytes  # at the first visits to checkpoint 1 and REPORT; else empty


class Program(NamedTuple):
    """A program of the grader's."""

    code: bytes
    accesses: list[int]  # an address in each page, in the order of their first use
    report: int  # in RBX at the end
    words: dict[int, int]  # that the program leaves in memory, by address


def _program(addresses: list[int]) -> Program:
    """Returns a program that writes to `addresses`, and adds what is in the new pages."""
    code = b"\x53\x31\xdb"  # push rbx; xor ebx, ebx
    words: dict[int, int] = {}
    report = 0
    for address in addresses:
        value = secrets.randbits(64)
        read = (address & -_PAGE) + 8 * secrets.randbelow(_PAGE // 8)
        code += _set_rdi(read) + b"\x48\x03\x1f"  # add rbx, [rdi]
        report += words.get(read, 0)
        code += _set_rdi(address) + b"\x48\xb8" + value.to_bytes(8, "little")  # mov rax, value
        code += b"\x48\x89\x07"  # mov [rdi], rax
        words[address] = value
    for address, value in words.items():
        code += _set_rdi(address) + b"\x48\x03\x1f"
        report += value
    code += b"\xb0" + bytes([REPORT]) + b"\xe6\xe9"  # mov al, REPORT; out 0xe9, al
    code += b"\x5b\xc3"  # pop rbx; ret
    return Program(code, addresses, report & _MASK, words)


def _set_rdi(address: int) -> bytes:
    return b"\x48\xbf" + address.to_bytes(8, "little")  # mov rdi, address


def _address() -> int:
    """Returns a random address in the heap, aligned to 8 bytes."""
    return HEAP + 8 * secrets.randbelow((HEAP_END - HEAP) // 8)


def _addresses() -> list[int]:
    """Returns addresses in different pages; some pages are neighbours, some are far away."""
    near = secrets.randbelow(200) * (2 << 20) + HEAP
    chosen = [near + page * _PAGE + 8 * secrets.randbelow(512) for page in range(_PAGES // 2)]
    chosen += [_address() for _ in range(_PAGES // 2)]
    pages = {address & -_PAGE: address for address in chosen}
    addresses = list(pages.values())
    secrets.SystemRandom().shuffle(addresses)
    return addresses


def _rubbish(size: int) -> bytes:
    """Returns random bytes which, as entries of a page table, are all present."""
    data = bytearray(secrets.token_bytes(size))
    data[::8] = bytes(byte | _PRESENT for byte in data[::8])
    return bytes(data)


def _boot(work: Work, kind: str) -> tuple[int, Program, Watched[Visit]]:
    """Runs a program of this kind; returns the page that the guest has to map first, too."""
    image = work.build(*BUILD, most=MAX_IMAGE, files=FILES)
    first = _address() & -_PAGE
    if kind == "pages":
        addresses = [address for address in _addresses() if address & -_PAGE != first]
        program = _program(addresses)
    elif kind == "outside":
        program = _program([HEAP_END + 8 * secrets.randbelow(1 << 24)])
    else:  # more pages than there are frames, in a row
        program = _program([HEAP + page * _PAGE for page in range(300)])
        first = HEAP_END - _PAGE
    wanted = {MAPPED, REPORT}

    def look(machine: Machine, number: int) -> Visit:
        vcpu = machine.vm.vcpus[0]
        special = vcpu.special_registers
        memory = machine.memory.read(0, MEMORY) if number in wanted else b""
        wanted.discard(number)
        return Visit(number, vcpu.registers.rbx, special.cr2, special.cr3, memory)

    watched = watch(
        image,
        look,
        memory=MEMORY,
        seconds=work.patience,
        cmdline=f"map={first:#x}",
        module=program.code,
        fill=(FRAMES, _rubbish(FRAMES_END - FRAMES)),
    )
    return first, program, watched


def _run(work: Work, kind: str = "pages") -> tuple[int, Program, Watched[Visit]]:
    return work.once(_boot, work, kind)


def _at(watched: Watched[Visit], number: int) -> Visit:
    for visit in watched.visits:
        if visit.number == number:
            return visit
    if number == REPORT:
        faults = sum(visit.number == FAULT for visit in watched.visits)
        raise Failed(
            f"the program didn't come to its end; {faults} visits to checkpoint 2; {watched.end}"
        )
    raise Failed(f"the guest never came to checkpoint {number}; {watched.end}")


def walk(memory: bytes, cr3: int, heap: bool) -> tuple[dict[int, int], set[int]]:
    """Returns the pages that the tables map, in the heap or elsewhere, and the tables.

    Raises `Failed` for a table outside of memory. A large page counts as one page.
    """
    pages: dict[int, int] = {}
    tables: set[int] = set()
    todo = [(cr3 & _ADDRESS, 39, 0)]
    while todo:
        table, shift, base = todo.pop()
        if table + _PAGE > len(memory):
            raise Failed(f"an entry for {base:#x} leads to a table at {table:#x}: no memory there")
        tables.add(table)
        for index in range(512):
            at = table + 8 * index
            entry = int.from_bytes(memory[at : at + 8], "little")
            first = base + (index << shift)
            overlaps = first < HEAP_END and first + (1 << shift) > HEAP
            if not entry & _PRESENT or (heap and not overlaps):
                continue
            if shift == 12 or (entry & _LARGE and shift < 39):
                if heap == (HEAP <= first < HEAP_END):
                    pages[first] = entry
            elif len(tables) + len(todo) < 2000:
                todo.append((entry & _ADDRESS, shift - 9, first))
    return pages, tables


def maps_one_page(work: Work) -> str:
    """At checkpoint 1 the page of the command line has a frame, writable."""
    first, _, watched = _run(work)
    visit = _at(watched, MAPPED)
    pages, _ = walk(visit.memory, visit.cr3, heap=True)
    if first not in pages:
        raise Failed(f"CR3 is {visit.cr3:#x}; the tables there don't map {first:#x}")
    entry = pages[first]
    frame = entry & _ADDRESS
    if entry & _LARGE or not FRAMES <= frame < FRAMES_END:
        raise Failed(f"the entry for {first:#x} is {entry:#x}: no frame of your 256")
    if not entry & _WRITABLE:
        raise Failed(f"the entry for {first:#x} is {entry:#x}: it isn't writable")
    return f"{first:#x} is mapped to the frame at {frame:#x}"


def maps_nothing_else(work: Work) -> str:
    """At checkpoint 1 the heap has this one page, and all tables are good ones."""
    first, _, watched = _run(work)
    visit = _at(watched, MAPPED)
    pages, tables = walk(visit.memory, visit.cr3, heap=True)
    others = sorted(set(pages) - {first})
    if others or first not in pages:
        also = f", {others[0]:#x} among them" if others else ""
        raise Failed(f"the tables map {len(pages)} pages of the heap{also}")
    old, _ = walk(visit.memory, visit.cr3, heap=False)
    expected = [at for at in range(0, HEAP, 2 << 20) if old.get(at, 0) & _ADDRESS != at]
    if expected:
        raise Failed(f"the tables don't map {expected[0]:#x} to itself any more")
    frame = pages[first] & _ADDRESS
    new = [table for table in tables if FRAMES <= table < FRAMES_END]
    if frame in new:
        raise Failed(f"the frame at {frame:#x} is a table as well as a page")
    return f"one page of the heap is mapped, by {len(new)} new tables"


def gives_pages(work: Work) -> str:
    """The program's first page fault leads to a page, and the program goes on."""
    _, program, watched = _run(work)
    visit = _at(watched, FAULT)
    wanted = program.accesses[0] & -_PAGE
    if visit.cr2 & -_PAGE != wanted:
        raise Failed(f"CR2 is {visit.cr2:#x}, and the program uses the page {wanted:#x}")
    later = [other for other in watched.visits if other.number in (FAULT, REPORT)]
    if len(later) < 2:
        raise Failed(f"after the first page fault, {watched.end}")
    return f"the program used {visit.cr2:#x}, and went on"


def gives_on_demand(work: Work) -> str:
    """Each page is given at its first use, and at no other time."""
    first, program, watched = _run(work)
    report = _at(watched, REPORT)
    faults = [visit.cr2 & -_PAGE for visit in watched.visits if visit.number == FAULT]
    wanted = [address & -_PAGE for address in program.accesses]
    if faults != wanted:
        raise Failed(
            f"{len(faults)} visits to checkpoint 2 in page faults, and the program used "
            f"{len(wanted)} pages"
        )
    pages, tables = walk(report.memory, report.cr3, heap=True)
    if set(pages) != {first, *wanted}:
        raise Failed(f"the tables map {len(pages)} pages of the heap in place of {len(wanted) + 1}")
    frames = [entry & _ADDRESS for entry in pages.values()]
    if len({*frames} | tables) != len(frames) + len(tables):
        raise Failed("two pages, or a page and a table, have the same frame")
    for frame in frames:
        if not FRAMES <= frame < FRAMES_END:
            raise Failed(f"a page has the frame {frame:#x}, which isn't one of your 256")
    for address, value in program.words.items():
        at = (pages[address & -_PAGE] & _ADDRESS) + address % _PAGE
        if int.from_bytes(report.memory[at : at + 8], "little") != value:
            raise Failed(f"what the program wrote to {address:#x} isn't in its frame")
    return f"{len(faults)} page faults for {len(wanted)} pages, each in a frame of its own"


def gives_zeros(work: Work) -> str:
    """A new page has nothing of what was in its frame before."""
    _, program, watched = _run(work)
    report = _at(watched, REPORT)
    if report.rbx != program.report:
        raise Failed(
            f"the program added {report.rbx:#x} in its pages, in place of {program.report:#x}"
        )
    pages, _ = walk(report.memory, report.cr3, heap=True)
    for page, entry in pages.items():
        frame = entry & _ADDRESS
        words = {at % _PAGE for at in program.words if at & -_PAGE == page}
        data = bytearray(report.memory[frame : frame + _PAGE])
        for at in words:
            data[at : at + 8] = bytes(8)
        if any(data):
            raise Failed(f"the page {page:#x} has bytes in it that the program didn't write")
    return f"{len(pages)} pages were zero when the program got them"


def refuses_bad_addresses(work: Work) -> str:
    """A program that uses an address outside of the heap ends the run."""
    _, program, watched = _run(work, "outside")
    _at(watched, MAPPED)
    if watched.status != BAD_ADDRESS:
        raise Failed(f"the program used {program.accesses[0]:#x}, and {watched.end}")
    return f"the program used {program.accesses[0]:#x}, and the run ended with status {BAD_ADDRESS}"


def runs_out_of_frames(work: Work) -> str:
    """A program that wants more pages than there are ends the run, at the last frame."""
    _, _, watched = _run(work, "many")
    faults = sum(visit.number == FAULT for visit in watched.visits)
    if watched.status != NO_MEMORY:
        raise Failed(f"after {faults} pages of the program, {watched.end}")
    # The command line's page takes a frame, and three tables: for its GiB, for its 2 MiB, and for
    # the 2 MiB of the program's pages.
    room = (FRAMES_END - FRAMES) // _PAGE - 4
    if faults < room:
        raise Failed(
            f"the run ended with status {NO_MEMORY} after {faults} visits to checkpoint 2, and "
            f"there are frames for {room} pages"
        )
    return f"after {faults} pages of the program, the run ended with status {NO_MEMORY}"


CHECKS = (
    Check(
        "checkpoint 1: the page of the command line has a frame",
        1,
        10,
        "the page tables in memory, from CR3 on, map the page to one of the frames, writable",
        "nine bits of the address choose the entry in each table: from bit 39, 30, 21 and 12 on; "
        "an entry that isn't present needs a new table, which has to be cleared first; each entry "
        "needs Present and Writable",
        maps_one_page,
    ),
    Check(
        "checkpoint 1: nothing else of the heap is mapped",
        1,
        10,
        "one page of the heap, in a frame that is no table; the first GiB as before",
        "a frame has what was in memory before: clear it before it becomes a table",
        maps_nothing_else,
    ),
    Check(
        "a page fault gives a page",
        2,
        15,
        "checkpoint 2 with CR2 in the page that the program uses first; then the program goes on",
        "map the page of `address` in page_fault(), then checkpoint(2), then return",
        gives_pages,
    ),
    Check(
        "pages are given on demand",
        2,
        15,
        "a page fault for each page at its first use, and a frame for each page, with what the "
        "program wrote",
        "each page fault takes one new frame for the page, and perhaps some for tables; take no "
        "frame twice, and map one page at a time",
        gives_on_demand,
    ),
    Check(
        "a new page is zero",
        2,
        10,
        "zeros, where the program has written nothing",
        "a program could read what others have left in the frame: clear_page()",
        gives_zeros,
    ),
    Check(
        "an address outside of the heap ends the run",
        2,
        5,
        "status 14 after an access from 0x80000000 on",
        "compare `address` with HEAP_START and HEAP_END, and finish(STATUS_BAD_ADDRESS)",
        refuses_bad_addresses,
    ),
    Check(
        "the last frame is the last",
        2,
        5,
        "status 12 when a program wants more pages than there are frames, and not before",
        "the last frame is at FRAMES_END - PAGE_SIZE; without a frame: finish(STATUS_NO_MEMORY)",
        runs_out_of_frames,
    ),
    Check(
        "taken: the pages that the host has given",
        3,
        10,
        "before and after the guest runs, the number of pages that the kernel says",
        "/proc/self/smaps has the mappings of this process, each with its first address; Rss is "
        "what is in memory, in KiB",
        finds_taken,
    ),
    Check(
        "dirty: the pages that the guest has written",
        3,
        10,
        "the guest's pages that this run has written, by the number of the physical page; page "
        "tables and the guest's code may be among them, and no other page",
        "the slot needs the flag KVM_MEM_LOG_DIRTY_PAGES; KVM_GET_DIRTY_LOG fills a bitmap of "
        "MEMORY // PAGE bits, and forgets what it has told",
        finds_dirty,
    ),
    Check(
        "translate: from virtual to physical",
        3,
        10,
        "the guest-physical address of addresses in pages of 4 KiB and 2 MiB; none for others",
        "walk the guest's tables in vm.memory from vm.cr3() on; test Present in each entry; Page "
        "Size ends the way in the third table",
        translates,
    ),
)
