"""The checks of lab 6: the student's kernel runs the grader's programs.

The image is built once. For each of its programs (programs.py), the grader boots the image with the
program in guest memory, in place of the student's. The kernel's console is the grader's port
CHECKPOINT: what a program puts there, in which order, and the status of the run are the results of
work that nobody has seen before.

Source: Intel SDM volume 3, 4.6 (access rights of pages), 5.5 (privilege levels), 6.12 (exception
and interrupt handling), 11.8.5 (end of interrupt).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ringlet.labs.check import HARDWARE_KVM, Check, Failed
from ringlet.labs.lab06_rings.programs import PROGRAM, PROGRAM_END, WRONG, make_jobs
from ringlet.labs.watch import read_memory, watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.labs.lab06_rings.programs import Job, Jobs
    from ringlet.labs.work import Work
    from ringlet.machine.machine import Machine

MEMORY = 16 << 20
MAX_IMAGE = 256 << 10
_STARTER = Path(__file__).parent / "starter"
GIVEN = tuple(_STARTER / name for name in ("kernel.h", "entry.S", "machine.c", "program.S"))
_FLAGS = (
    "-s -O1 -Wall -Wextra -std=gnu11 -ffreestanding -mno-red-zone -mgeneral-regs-only "
    "-fno-stack-protector -fno-pic -fcf-protection=none -fno-asynchronous-unwind-tables "
    "-fno-tree-loop-distribute-patterns -Wa,-mx86-used-note=no -nostdlib -static -no-pie "
    "-Wl,--build-id=none,-z,noseparate-code,-z,max-page-size=4096 "
    "-Wl,-Ttext-segment=0x100000,--section-start=.program=0x400000,-e,start"
)
_BUILD = f"gcc {_FLAGS} entry.S machine.c kernel.c program.S -o /tmp/kernel >&2 && cat /tmp/kernel"
_FOR_JOBS = 6  # times the usual patience, to assemble the programs
_BREAKPOINT = 3
_PRESENT, _USER, _IS_PAGE = 1, 4, 1 << 7
_ADDRESS = 0x000F_FFFF_FFFF_F000
_LARGE = 2 << 20


class Put(NamedTuple):
    """A byte on the console, and the processor at that time.

    gate  the ring that may use the gate of int3 in the IDT; -1 if there is no such gate
    """

    byte: int
    cr3: int
    gate: int


class Run(NamedTuple):
    """One run of the kernel with a program, and its console.

    output  each byte once, in the order of the first times
    """

    output: bytes
    cr3: int
    end: str
    status: int | None
    memory: bytes


def _look(machine: Machine, byte: int) -> Put:
    special = machine.vm.vcpus[0].special_registers
    gate = read_memory(machine, special.idt[0] + _BREAKPOINT * 16, 16)
    return Put(byte & 0xFF, special.cr3, gate[5] >> 5 & 3 if len(gate) == 16 else -1)


def _jobs(work: Work) -> Jobs:
    return work.once(_make_jobs, work)


def _make_jobs(work: Work) -> Jobs:
    return make_jobs(_FOR_JOBS * work.patience)


def _run(work: Work, job: Job) -> Run:
    return work.once(_boot, work, job)


def _boot(work: Work, job: Job) -> Run:
    image = work.build("sh", "-c", _BUILD, most=MAX_IMAGE, files=GIVEN)
    program = PROGRAM, job.code.ljust(PROGRAM_END - PROGRAM, b"\0")
    seen = watch(image, _look, memory=MEMORY, seconds=work.patience, protocol="elf64", fill=program)
    # A KVM that emulates ring 0 lets ring 3 through any gate.
    if any(put.gate != 3 for put in seen.visits):
        raise Failed("int3 came to the kernel by a gate that isn't for ring 3")
    output = bytes(dict.fromkeys(put.byte for put in seen.visits))
    cr3 = seen.visits[0].cr3 if seen.visits else 0
    return Run(output, cr3, seen.end, seen.status, seen.memory)


def _shown(data: bytes) -> str:
    return data[:8].hex(" ") + (" ..." if len(data) > 8 else "") if data else "nothing"


def _expect(work: Work, job: Job) -> Run:
    """Runs a program. Raises `Failed` if it doesn't lead to what it has to."""
    run = _run(work, job)
    if run.status in WRONG:
        raise Failed(WRONG[run.status])
    if run.output != job.output:
        expected = _shown(job.output)
        raise Failed(f"the console got {_shown(run.output)} in place of {expected}; {run.end}")
    if run.status != job.status:
        raise Failed(f"{run.end}, in place of status {job.status}")
    return run


def runs_in_ring_3(work: Work) -> str:
    """A program that puts its ring, plus a number, puts 3 plus the number."""
    job = _jobs(work).ring
    output = _run(work, job).output
    if len(output) == 1 and output != job.output and job.output[0] - output[0] in (1, 2, 3):
        raise Failed(f"the program runs in ring {3 - job.output[0] + output[0]}")
    _expect(work, job)
    return f"the program put {_shown(job.output)}, and ended the run with status {job.status}"


def answers_system_calls(work: Work) -> str:
    """System calls have their effects and results, and leave all other registers as they are."""
    job = _jobs(work).calls
    _expect(work, job)
    return f"the program put {_shown(job.output)}, in this order, and found its registers as before"


def closes_the_kernel(work: Work) -> str:
    """While the program runs, ring 3 may use the program's large page and no other page."""
    job = _jobs(work).ring
    run = _expect(work, job)
    pages = _user_pages(run.memory, run.cr3 & _ADDRESS, 39, 0, set())
    others = [at for at in pages if not PROGRAM <= at < PROGRAM + _LARGE]
    if others:
        raise Failed(f"ring 3 may use {len(others)} other pages; the first is at {others[0]:#x}")
    return f"of the tables at {run.cr3:#x}, {len(pages)} pages are for ring 3, from {PROGRAM:#x} on"


def _user_pages(
    memory: bytes, table: int, shift: int, base: int, seen: set[tuple[int, int]]
) -> list[int]:
    """Returns the addresses that ring 3 may use: one for each page, however large the page is.

    A table is walked once for each level, since a student's tables may lead in circles.
    """
    found: list[int] = []
    if (table, shift) in seen:
        return found
    seen.add((table, shift))
    for number in range(512):
        entry = int.from_bytes(memory[table + number * 8 :][:8], "little")
        address = base + (number << shift)
        if entry & (_PRESENT | _USER) != _PRESENT | _USER:
            continue
        if shift == 12 or (entry & _IS_PAGE and shift < 39):
            found.append(address)
        else:
            found += _user_pages(memory, entry & _ADDRESS, shift - 9, address, seen)
    return found


def ends_at_faults(work: Work) -> str:
    """What ring 3 may not do ends the run, with a status that tells the vector."""
    jobs = _jobs(work).faults
    for job in jobs:
        run = _run(work, job)
        if run.status != job.status and run.output == job.output:
            seen = WRONG.get(run.status or 0, run.end)
            raise Failed(f"after an exception with vector {job.status - 128}: {seen}")
        _expect(work, job)
    return "the statuses were " + ", ".join(str(job.status) for job in jobs)


def checks_pointers(work: Work) -> str:
    """SYS_WRITE writes bytes of the program's memory, and no other."""
    job = _jobs(work).write
    _expect(work, job)
    return f"the console got {_shown(job.output)}, and nothing of the kernel's"


def switches_threads(work: Work) -> str:
    """Two threads take turns without a system call."""
    job = _jobs(work).threads
    run = _run(work, job)
    if not run.output and run.status is None:
        raise Failed(f"thread 1 never saw thread 0 run several times; {run.end}")
    _expect(work, job)
    return "thread 1 saw the counter of thread 0 change several times, and ended the run"


def keeps_registers(work: Work) -> str:
    """Each thread finds its own registers after a turn of the other."""
    job = _jobs(work).registers
    run = _run(work, job)
    if not run.output and run.status is None:
        raise Failed(f"thread 1 never saw thread 0 run several times; {run.end}")
    _expect(work, job)
    return "both threads found their registers as before"


CHECKS = (
    Check(
        "the program runs in ring 3",
        1,
        15,
        "a program that puts a number plus its ring puts 3 plus this number",
        "the last two bits of CS and SS in the program's first frame are its ring; int3 needs a "
        "gate that ring 3 may use; a trap needs a stack: set_kernel_stack",
        runs_in_ring_3,
    ),
    Check(
        "system calls",
        1,
        15,
        "bytes in the program's order, 0 from SYS_PUT, -1 from a call that isn't there, and all "
        "other registers as before",
        "the number is in frame->rax, the arguments in frame->rdi and frame->rsi; the result goes "
        "to frame->rax, and to nothing else",
        answers_system_calls,
    ),
    Check(
        "the rest of memory is the kernel's",
        1,
        10,
        "in the page tables, ring 3 may use the program's page of 2 MiB at 0x400000, and no other",
        "PAGE_USER is needed in an entry of each of the three tables, and in no other entry",
        closes_the_kernel,
    ),
    Check(
        "a fault ends the program",
        2,
        15,
        "programs that read the kernel's memory, use a privileged instruction, and so on, end the "
        "run with status 128 plus the vector",
        "frame->vector says which exception it is; RFLAGS of the program has IOPL 0",
        ends_at_faults,
        HARDWARE_KVM,  # one that emulates ring 0 doesn't know IOPL 3
    ),
    Check(
        "the kernel looks at a pointer before it uses it",
        2,
        15,
        "SYS_WRITE shows bytes between PROGRAM and PROGRAM_END, and gives -1 for all other bytes, "
        "and for those that begin inside and end outside",
        "an address plus a size can be larger than 64 bits hold: compare the size with the room "
        "that is left",
        checks_pointers,
    ),
    Check(
        "two threads take turns",
        3,
        15,
        "while neither makes a system call, thread 1 sees several times that thread 0 has run",
        "RFLAGS.IF of both threads is 1; each interrupt of the timer needs its end_of_interrupt()",
        switches_threads,
        HARDWARE_KVM,  # the other kind needs no end of interrupt
    ),
    Check(
        "each thread keeps its registers",
        3,
        15,
        "each thread finds its own values in its registers after each turn of the other thread",
        "save the whole frame of the thread that was interrupted before you overwrite it",
        keeps_registers,
        HARDWARE_KVM,
    ),
)
