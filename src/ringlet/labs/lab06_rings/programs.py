"""The grader's programs for ring 3, made anew for each grading.

Each program does work with random numbers, so nobody knows beforehand what a program puts, and with
which status it ends. A program is in the assembly language of gcc and has two pages of code, a page
for each thread. Most programs are the same in both: so it doesn't matter whether the kernel has a
second thread yet, and which of the two ends the run. (A byte counts when it is put first.)
"""

from __future__ import annotations

import random
from typing import NamedTuple

from ringlet.labs.check import Failed
from ringlet.labs.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM, PROGRAM_END = 0x400000, 0x404000
PAGE = 0x1000
_CODE = 2 * PAGE
_KERNEL = 0x100000
_CHANGES = 3  # how often thread 1 has to see that thread 0 has run

# With these a program ends that finds its kernel wrong. The usual statuses are below.
PUT_RESULT, NO_SUCH_CALL, REGISTER, WRITE_RESULT, WRITE_REFUSED, NO_FAULT, RING = range(240, 247)
WRONG = {
    PUT_RESULT: "the result of SYS_PUT in RAX isn't 0",
    NO_SUCH_CALL: "the result of a system call that isn't there isn't -1",
    REGISTER: "a register of the program changed that the kernel has to keep",
    WRITE_RESULT: "the result of SYS_WRITE isn't the number of bytes",
    WRITE_REFUSED: "the result of SYS_WRITE isn't -1, though not all bytes are the program's",
    RING: "the program doesn't run in ring 3",
    NO_FAULT: "the program went on after an instruction that ring 3 may not use",
}

_random = random.SystemRandom()
_KEPT = ("rbx", "rcx", "rdx", "rsi", "rdi", "rbp", *(f"r{number}" for number in range(8, 16)))


class Job(NamedTuple):
    """A program, and what it has to lead to.

    output  the bytes that the program puts, all of them different
    status  the status of the run
    """

    code: bytes
    output: bytes
    status: int


class Jobs(NamedTuple):
    """The programs, by what they try."""

    ring: Job
    calls: Job
    faults: Sequence[Job]
    write: Job
    threads: Job
    registers: Job


def make_jobs(seconds: float) -> Jobs:
    """Makes all programs. Raises `Failed` if they can't be assembled here in so many seconds."""
    made = [_ring(), _calls(), *_faults(), _write(), _threads(), _registers()]
    source = "".join(f".balign {PAGE}\n{text}" for text, _, _ in made) + f".balign {PAGE}\n"
    command = "as programs.s -o /tmp/o && objcopy -O binary -j .text /tmp/o /tmp/b && cat /tmp/b"
    files = {"programs.s": source.encode()}
    with Program(files, ["sh", "-c", command], kvm=False, seconds=seconds) as program:
        program.end_input()
        end = program.finish(most=len(made) * _CODE)
    if end.status != 0 or len(end.output) != len(made) * _CODE:
        raise Failed(f"the grader can't assemble its programs: {end.complaint}")
    jobs = [
        Job(end.output[number * _CODE :][:_CODE], output, status)
        for number, (_, output, status) in enumerate(made)
    ]
    return Jobs(jobs[0], jobs[1], jobs[2:-3], *jobs[-3:])


_Made = tuple[str, bytes, int]  # the source, and what its output and its status have to be


def _program(thread_0: str, thread_1: str = "") -> str:
    """Returns both pages; `jne 240f` in either of them ends the program with status 240.

    Without `thread_1`, both threads do the same.
    """
    # A kernel that runs its programs in ring 0 earns nothing for what they do there.
    begin = f"mov %cs, %eax\nand $3, %eax\ncmp $3, %eax\njne {RING}f\n"
    wrong = "".join(f"{status}: {_finish(status)}" for status in WRONG)
    return f"{begin}{thread_0}.balign {PAGE}\n{begin}{thread_1 or thread_0}{wrong}"


def _finish(status: int) -> str:
    return f"mov ${status}, %edi\nmov $2, %eax\nint3\n"


def _put(byte: int) -> str:
    return f"mov ${byte}, %edi\nmov $1, %eax\nint3\n"


def _some_bytes(count: int) -> bytes:
    return bytes(_random.sample(range(256), count))


def _some_status() -> int:
    return _random.randrange(1, 100)


def _some_registers() -> dict[str, int]:
    return {name: _random.randrange(1 << 31) for name in _KEPT}


def _load(values: dict[str, int]) -> str:
    return "".join(f"mov ${value}, %{name}\n" for name, value in values.items())


def _compare(values: dict[str, int]) -> str:
    return "".join(f"cmp ${value}, %{name}\njne {REGISTER}f\n" for name, value in values.items())


def _ring() -> _Made:
    """Puts a number plus the ring that it runs in."""
    number, status = _random.randrange(1, 200), _some_status()
    code = f"mov %cs, %edi\nand $3, %edi\nadd ${number}, %edi\nmov $1, %eax\nint3\n"
    return (
        f"{code}{_finish(status)}.balign {PAGE}\n{code}{_finish(status)}",
        bytes([number + 3]),
        status,
    )


def _calls() -> _Made:
    """Puts six bytes in a loop, tries a call that isn't there, and looks at all registers."""
    first, step, status = _random.randrange(256), _random.randrange(1, 255, 2), _some_status()
    kept = _some_registers()
    one = _random.randrange(256)
    while (one - first) * pow(step, -1, 256) % 256 < 6:
        one = _random.randrange(256)
    loop = (
        f"mov ${first}, %ebx\nmov $6, %ebp\n1: movzbl %bl, %edi\nmov $1, %eax\nint3\n"
        f"test %rax, %rax\njne {PUT_RESULT}f\nadd ${step}, %bl\ndec %ebp\njnz 1b\n"
    )
    missing = (
        f"mov ${_random.randrange(100, 1000)}, %eax\nint3\ncmp $-1, %rax\njne {NO_SUCH_CALL}f\n"
    )
    registers = _load(kept | {"rdi": one}) + "mov $1, %eax\nint3\n" + _compare(kept | {"rdi": one})
    output = bytes([*((first + step * turn) % 256 for turn in range(6)), one])
    return _program(loop + missing + registers + _finish(status)), output, status


def _faults() -> list[_Made]:
    """Puts a byte, and does what ring 3 may not do: one thing in each program."""
    place = _KERNEL + _random.randrange(PAGE)
    choices = (
        (14, (f"movb {place}, %al", f"movb %al, {place}", f"mov ${place}, %eax\njmp *%rax")),
        (13, ("hlt", "mov %rax, %cr3", "mov %cr2, %rax")),
        (13, ("cli", "sti", "out %al, $0xe9", "in $0x64, %al")),  # with IOPL 3 ring 3 could
        (_random.choice(((6, ("ud2",)), (0, ("xor %ecx, %ecx\ndiv %ecx",))))),
    )
    made = []
    for vector, crimes in choices:
        (byte,) = _some_bytes(1)
        code = f"{_put(byte)}{_random.choice(crimes)}\njmp {NO_FAULT}f\n"
        made.append((_program(code), bytes([byte]), 128 + vector))
    return _random.sample(made, len(made))


def _write() -> _Made:
    """Writes bytes of its own, and tries to have others written that aren't."""
    text, tail = (shown := _some_bytes(8))[:5], shown[5:]
    status = _some_status()
    at_end = PROGRAM_END - len(tail)
    wrong = [
        (_KERNEL + _random.randrange(PAGE), 4),
        (0, 1),
        (PROGRAM - 2, 4),
        (at_end, len(tail) + 1),
        (PROGRAM, (1 << 64) - 1),
        ((1 << 64) - 0x100, PROGRAM + 0x200),
    ]
    code = "lea 1f(%rip), %rdi\n" + _write_call(len(text), len(text), WRITE_RESULT)
    for address, size in _random.sample(wrong, len(wrong)):
        code += f"movabs ${address}, %rdi\n" + _write_call(size, -1, WRITE_REFUSED)
    code += "".join(f"movb ${byte}, {at_end + at}\n" for at, byte in enumerate(tail))
    code += f"mov ${at_end}, %rdi\n" + _write_call(len(tail), len(tail), WRITE_RESULT)
    code += _finish(status) + "1: .byte " + ", ".join(map(str, text)) + "\n"
    return _program(code), text + tail, status


def _write_call(size: int, result: int, status: int) -> str:
    return f"movabs ${size}, %rsi\nmov $3, %eax\nint3\ncmp ${result}, %rax\njne {status}f\n"


def _threads() -> _Made:
    """Thread 0 counts for ever. Thread 1 waits until the counter has changed several times.

    Neither makes a system call meanwhile. What they know is in memory.
    """
    counter, left = PROGRAM_END - 0x1800, PROGRAM_END - 0x17F0
    (byte,), status = _some_bytes(1), _some_status()
    waits = (
        f"movl ${_CHANGES}, {left}\n"
        f"1: mov {counter}, %eax\n2: cmp %eax, {counter}\nje 2b\ndecl {left}\njnz 1b\n"
    )
    thread_0 = f"1: incl {counter}\njmp 1b\n"
    return _program(thread_0, waits + _put(byte) + _finish(status)), bytes([byte]), status


def _registers() -> _Made:
    """As `_threads`, and each thread has its own values in its registers, and looks at them."""
    counter = PROGRAM_END - 0x1800
    (byte,), status = _some_bytes(1), _some_status()
    mine, other = _some_registers(), _some_registers()
    left = "rbx"  # thread 1 counts down in a register
    rest = {name: value for name, value in other.items() if name != left}
    waits = (
        _load(other | {left: _CHANGES})
        + f"1: mov {counter}, %eax\n2:\n{_compare(rest)}cmp %eax, {counter}\nje 2b\n"
        + f"dec %{left}\njnz 1b\n"
    )
    counts = f"{_load(mine)}1: incl {counter}\n{_compare(mine)}jmp 1b\n"
    return _program(counts, waits + _put(byte) + _finish(status)), bytes([byte]), status
