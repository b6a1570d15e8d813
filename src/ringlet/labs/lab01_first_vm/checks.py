"""The checks of lab 1: each runs the student's VMM with a guest that was made for this run.

A guest of this lab is 16-bit code at 0x1000, with segments at 0. The opcodes are those of the Intel
SDM, volume 2.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager

from ringlet.labs import process
from ringlet.labs.check import Check, Failed
from ringlet.labs.program import PYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringlet.labs.program import End, Program
    from ringlet.labs.work import Work

LOAD = 0x1000
COM1 = 0x3F8
MOV_DX_COM1 = b"\xba\xf8\x03"
OUT, IN, HLT = b"\xee", b"\xec", b"\xf4"  # out dx, al; in al, dx; hlt
_TAG, _COUNTER = 16, 32  # offsets in the guest that counts


@contextmanager
def _vmm(work: Work, guest: bytes) -> Iterator[Program]:
    files = {"grader.bin": guest}
    with work.program(PYTHON, "vm.py", "grader.bin", files=files, kvm=True) as program:
        yield program


def _run(work: Work, guest: bytes) -> End:
    with _vmm(work, guest) as program:
        program.end_input()
        return program.finish()


def _counting_guest(tag: bytes) -> bytes:
    """Counts in its own memory, and never ends: inc dword [LOAD + _COUNTER]; jmp to it."""
    code = b"\x66\xff\x06" + (LOAD + _COUNTER).to_bytes(2, "little") + b"\xeb\xf9"
    return code.ljust(_TAG, b"\x90") + tag + bytes(8)


def makes_a_vm(work: Work) -> str:
    """While the guest runs, the program has a VM and a vCPU of KVM open."""
    with _vmm(work, _counting_guest(secrets.token_bytes(16))) as program:
        program.end_input()

        def has_both() -> bool:
            opened = process.descriptors(program.pid)
            return process.VM in opened and process.VCPU in opened

        if program.wait_until(has_both):
            return "the program has a VM and its vCPU 0 open"
        has_vm = process.VM in process.descriptors(program.pid)
        if program.has_ended:
            raise Failed(f"the program had no vCPU open, and ended: {program.finish().complaint}")
        raise Failed("the program has a VM open, but no vCPU" if has_vm else "there is no VM")


def runs_the_guest(work: Work) -> str:
    """The guest changes its memory, as only an instruction that runs can."""
    tag = secrets.token_bytes(16)
    with _vmm(work, _counting_guest(tag)) as program:
        program.end_input()
        # A program that copies the guest into memory changes these bytes once.
        counts: dict[int, set[bytes]] = {}

        def is_counting() -> bool:
            if process.VCPU not in process.descriptors(program.pid):
                return False
            for place in process.find_all(program.pid, tag):
                seen = counts.setdefault(place, set())
                seen.add(process.read_memory(program.pid, place + _COUNTER - _TAG, 4))
                if len(seen) > 2:
                    return True
            return False

        if program.wait_until(is_counting):
            return "the counter in the guest's memory goes up"
        if program.has_ended:
            raise Failed(f"the program ended before its guest: {program.finish().complaint}")
        raise Failed(
            "the counter in the guest's memory stands still"
            if counts
            else "the guest isn't in the program's memory"
        )


def _expect(end: End, expected: bytes) -> None:
    if end.output != expected:
        seen = f"standard output got {_show(end.output)} in place of {_show(expected)}"
        raise Failed(seen if end.output or not end.errors else f"{seen}: {end.complaint}")


def _show(data: bytes) -> str:
    most = 12
    shown = data[:most].hex(" ") + (" ..." if len(data) > most else "")
    return f"{len(data)} bytes ({shown})" if data else "nothing"


def _sums() -> tuple[bytes, bytes]:
    """Code that writes sums of random numbers to COM1, and the bytes that come of it."""
    pairs = [(secrets.randbelow(256), secrets.randbelow(256)) for _ in range(6)]
    # mov al, a; add al, b; out dx, al
    code = b"".join(b"\xb0%c\x04%c" % pair + OUT for pair in pairs)
    return MOV_DX_COM1 + code, bytes((a + b) % 256 for a, b in pairs)


def writes_output(work: Work) -> str:
    """What the guest writes to the port arrives on standard output, each byte of it."""
    code, expected = _sums()
    with _vmm(work, code + HLT) as program:
        program.end_input()
        program.wait_until(lambda: len(program.output) >= len(expected))
        program.wait_until(lambda: program.has_ended, 0.3)
        if bytes(program.output) != expected:
            _expect(program.finish(), expected)
    return f"standard output got {_show(expected)}, as the guest computed"


def ends_at_halt(work: Work) -> str:
    """HLT ends the program with status 0, after the guest has run."""
    code, expected = _sums()
    end = _run(work, code + HLT)
    _expect(end, expected)
    if end.status != 0:
        raise Failed(f"the status is {end.status}: {end.complaint}")
    return "the program ended with status 0"


def has_64_kib(work: Work) -> str:
    """The guest writes to the ends of its 64 KiB, and reads all that again."""
    words = {at: secrets.randbelow(1 << 16) for at in (0x0FFE, 0x2000, 0x7FFE, 0x8000, 0xFFFE)}
    code = b""
    for at, value in words.items():  # mov word [at], value
        code += b"\xc7\x06" + at.to_bytes(2, "little") + value.to_bytes(2, "little")
    code += b"\x31\xc0"  # xor ax, ax
    for at in words:  # add ax, [at]
        code += b"\x03\x06" + at.to_bytes(2, "little")
    total = sum(words.values()) & 0xFFFF
    code += MOV_DX_COM1 + OUT + b"\x88\xe0" + OUT + HLT  # mov al, ah between the two
    _expect(_run(work, code), total.to_bytes(2, "little"))
    return "five words, up to address 0xfffe, kept their values"


def answers_input(work: Work) -> str:
    """A byte that comes on standard input reaches the guest, and its answer comes at once."""
    first, second, count = secrets.randbelow(256), secrets.randbelow(256), 5
    # mov cx, count; again: in al, dx; add al, first; xor al, second; out dx, al; loop again; hlt
    code = MOV_DX_COM1 + b"\xb9" + count.to_bytes(2, "little")
    code += IN + b"\x04%c\x34%c" % (first, second) + OUT + b"\xe2\xf8" + HLT
    with _vmm(work, code) as program:
        wanted = process.KvmExit(process.EXIT_IO, process.EXIT_IO_IN, 1, COM1)
        if not program.wait_until(lambda: process.last_exit(program.pid) == wanted):
            why = program.finish().complaint if program.has_ended else "no vCPU shows that exit"
            raise Failed(f"the guest never waited at its IN: {why}")
        expected = b""
        for number in range(1, count + 1):
            byte = secrets.randbelow(256)
            expected += bytes([(byte + first) % 256 ^ second])
            program.send(bytes([byte]))
            program.wait_until(lambda: len(program.output) >= len(expected))  # noqa: B023
            if bytes(program.output) != expected:
                raise Failed(
                    f"after {number} bytes of input, standard output got "
                    f"{_show(bytes(program.output))} in place of {_show(expected)}"
                )
        program.end_input()
        end = program.finish()
    if end.status != 0:
        raise Failed(f"after the guest's HLT, the status is {end.status}: {end.complaint}")
    return f"{count} bytes went in, and each answer came back before the next byte"


def stops_at_unknown_exits(work: Work) -> str:
    """A guest that touches memory that isn't there ends the program, with an error."""
    code, expected = _sums()
    # mov ax, 0x4000; mov ds, ax; mov al, [0]: address 0x40000 is above 64 KiB; then hlt
    end = _run(work, code + b"\xb8\x00\x40\x8e\xd8\xa0\x00\x00" + HLT)
    _expect(end, expected)
    if end.status == 0:
        raise Failed("the program ended with status 0, as if the guest had halted")
    return f"the program ended with status {end.status}"


CHECKS = (
    Check(
        "the program makes a VM with one vCPU",
        1,
        15,
        "descriptors of a VM and of its vCPU 0 in the program, while a guest runs",
        "KVM_CREATE_VM on /dev/kvm gives a VM, KVM_CREATE_VCPU on the VM gives a vCPU",
        makes_a_vm,
    ),
    Check(
        "the guest runs",
        1,
        20,
        "a counter in the guest's memory that goes up",
        "the guest belongs at address 0x1000 of the memory that you give to the VM; CS has base 0 "
        "and selector 0, RIP is 0x1000, RFLAGS is 2; then KVM_RUN",
        runs_the_guest,
    ),
    Check(
        "OUT to port 0x3f8 reaches standard output",
        2,
        20,
        "the bytes that a guest of random numbers computes, and nothing else",
        "KVM_EXIT_IO: the byte is in the shared page, at io.data_offset; then run the guest again",
        writes_output,
    ),
    Check(
        "HLT ends the program with status 0",
        2,
        10,
        "the guest's output, and then status 0",
        "KVM_EXIT_HLT is 5: leave the loop, and let nothing fail afterwards",
        ends_at_halt,
    ),
    Check(
        "the guest has 64 KiB of memory",
        2,
        10,
        "words that the guest wrote, up to address 0xfffe, have their values later",
        "memory_size of the memory slot is 0x10000, and guest_phys_addr is 0",
        has_64_kib,
    ),
    Check(
        "IN from port 0x3f8 reads standard input",
        3,
        15,
        "the guest waits at IN for each byte of input, and its answer comes before the next byte",
        "for a read, write the byte to io.data_offset before the next KVM_RUN; flush your output",
        answers_input,
    ),
    Check(
        "an exit that the program doesn't know ends it with an error",
        3,
        10,
        "the guest's output, and then a status other than 0, in time",
        "any other exit_reason: write it to standard error, and sys.exit(1)",
        stops_at_unknown_exits,
    ),
)
