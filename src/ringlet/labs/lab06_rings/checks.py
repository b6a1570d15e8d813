"""The checks of lab 6: the student's kernel runs the grader's programs.

The image is built once, with a mark in place of the program. The grader puts each of its programs
(programs.py) in place of the mark, and boots the image. The kernel's console is the grader's port
CHECKPOINT: what a program puts there, in which order, and the status of the run are the results of
work that nobody has seen before.

Source: Intel SDM volume 3, 4.6 (access rights of pages), 5.5 (privilege levels), 6.12 (exception
and interrupt handling), 11.8.5 (end of interrupt).
"""

from __future__ import annotations

import secrets
from pathlib import Path

from ringlet.labs.check import HARDWARE_KVM, Check, Failed
from ringlet.labs.guest import boot
from ringlet.labs.lab06_rings.programs import PROGRAM, PROGRAM_END, WRONG, make_jobs
from ringlet.labs.work import BUILD_SECONDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.labs.guest import Run
    from ringlet.labs.lab06_rings.programs import Job, Jobs
    from ringlet.labs.work import Work

MEMORY = 16 << 20
MAX_IMAGE = 256 << 10
GIVEN = ("kernel.h", "entry.S", "machine.c")
_STARTER = Path(__file__).parent / "starter"
_FLAGS = (
    "-s -O1 -Wall -Wextra -std=gnu11 -ffreestanding -mno-red-zone -mgeneral-regs-only "
    "-fno-stack-protector -fno-pic -fcf-protection=none -fno-asynchronous-unwind-tables "
    "-fno-tree-loop-distribute-patterns -Wa,-mx86-used-note=no -nostdlib -static -no-pie "
    "-Wl,--build-id=none,-z,noseparate-code,-z,max-page-size=4096 "
    "-Wl,-Ttext-segment=0x100000,--section-start=.program=0x400000,-e,start"
)
_BUILD = f"gcc {_FLAGS} entry.S machine.c kernel.c program.S -o /tmp/kernel >&2 && cat /tmp/kernel"
_WORD = 4
_BREAKPOINT = 3
_PRESENT, _USER, _IS_PAGE = 1, 4, 1 << 7
_ADDRESS = 0x000F_FFFF_FFFF_F000
_LARGE = 2 << 20


def _build(work: Work) -> tuple[bytes, bytes]:
    """Returns the image, and the mark where a program belongs."""
    word = secrets.token_bytes(_WORD)
    fill = f".fill {(PROGRAM_END - PROGRAM) // _WORD}, {_WORD}, {int.from_bytes(word, 'little')}\n"
    files = {name: (_STARTER / name).read_bytes() for name in GIVEN}
    files["program.S"] = f'.section .program, "aw"\n{fill}'.encode()
    with work.program("sh", "-c", _BUILD, files=files, seconds=BUILD_SECONDS) as program:
        program.end_input()
        end = program.finish(most=MAX_IMAGE)
    if end.status != 0:
        raise Failed(f"the build fails: {end.complaint}")
    if not end.output:
        raise Failed("the build makes an empty image")
    return end.output, word * ((PROGRAM_END - PROGRAM) // _WORD)


def _jobs(work: Work) -> Jobs:
    return work.once(make_jobs)


def _run(work: Work, job: Job) -> Run:
    image, mark = work.once(_build, work)
    if image.count(mark) != 1:
        raise Failed("there is no room for a program in the image: see the section .program")
    program = job.code.ljust(len(mark), b"\0")
    run = work.once(boot, image.replace(mark, program), MEMORY, "elf64")
    for snapshot in run.snapshots.values():
        # A KVM that emulates ring 0 lets ring 3 through any gate.
        base, _ = snapshot.special.idt
        attributes = run.memory[base + _BREAKPOINT * 16 :][5:6]
        if attributes and attributes[0] >> 5 & 3 != 3:
            raise Failed("int3 came to the kernel by a gate that isn't for ring 3")
    return run


def _shown(data: bytes) -> str:
    return data[:8].hex(" ") + (" ..." if len(data) > 8 else "") if data else "nothing"


def _expect(work: Work, job: Job) -> Run:
    """Runs a program. Raises `Failed` if it doesn't lead to what it has to."""
    run = _run(work, job)
    output = bytes(run.snapshots)
    if run.status in WRONG:
        raise Failed(WRONG[run.status])
    if output != job.output:
        expected = _shown(job.output)
        raise Failed(f"the console got {_shown(output)} in place of {expected}; {run.end}")
    if run.status != job.status:
        raise Failed(f"{run.end}, in place of status {job.status}")
    return run


def runs_in_ring_3(work: Work) -> str:
    """A program that puts its ring, plus a number, puts 3 plus the number."""
    job = _jobs(work).ring
    output = bytes(_run(work, job).snapshots)
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
    cr3 = run.at(job.output[0]).special.cr3
    pages = _user_pages(run.memory, cr3 & _ADDRESS, 39, 0, set())
    others = [at for at in pages if not PROGRAM <= at < PROGRAM + _LARGE]
    if others:
        raise Failed(f"ring 3 may use {len(others)} other pages; the first is at {others[0]:#x}")
    return f"of the tables at {cr3:#x}, {len(pages)} pages are for ring 3, from {PROGRAM:#x} on"


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
        if run.status != job.status and bytes(run.snapshots) == job.output:
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
    if not run.snapshots and run.status is None:
        raise Failed(f"thread 1 never saw thread 0 run several times; {run.end}")
    _expect(work, job)
    return "thread 1 saw the counter of thread 0 change several times, and ended the run"


def keeps_registers(work: Work) -> str:
    """Each thread finds its own registers after a turn of the other."""
    job = _jobs(work).registers
    run = _run(work, job)
    if not run.snapshots and run.status is None:
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
