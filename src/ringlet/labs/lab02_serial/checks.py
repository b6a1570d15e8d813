"""The checks of lab 2: the grader's VMM with the student's UART, and guests made for this run.

A guest computes with what it gets from the UART. What it writes comes out, and what it stores is
read in its memory from outside.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from pathlib import Path

from ringlet.labs import process
from ringlet.labs.check import Check, Failed
from ringlet.labs.lab02_serial.guest import (
    IER,
    IIR,
    LCR,
    LSR,
    MCR,
    OUT2,
    RBR,
    SCR,
    THR,
    Code,
    results,
)
from ringlet.labs.program import PYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringlet.labs.program import Program
    from ringlet.labs.work import Work

VMM = Path(__file__).parent / "starter" / "vm.py"
_READY = 0x60  # LSR with nothing received: THRE and TEMT
_DLAB = 0x80
_NONE, _RECEIVED = 0x01, 0x04  # IIR
_IIR = 0x0F  # the bits that say the reason
_SIZE = 32  # of a guest's tag and its results


@contextmanager
def _vmm(work: Work, guest: bytes) -> Iterator[Program]:
    files = {"grader.bin": guest, "vm.py": VMM.read_bytes()}
    with work.program(PYTHON, "vm.py", "grader.bin", files=files, kvm=True) as program:
        yield program


def _random() -> int:
    """Returns a byte that is neither 0 nor 0xff."""
    return 1 + secrets.randbelow(254)


def _expect(program: Program, expected: bytes, what: str = "") -> None:
    """Waits for output. Raises `Failed` if it is other output."""
    program.wait_until(lambda: len(program.output) >= len(expected))
    program.wait_until(lambda: program.has_ended, 0.05)
    output = bytes(program.output)
    if output != expected:
        if program.has_ended:
            program.finish()  # raises `Failed` if it took too much memory
        why = f": {program.last_error}" if program.last_error else ""
        raise Failed(
            f"{what}standard output got {_show(output)} in place of {_show(expected)}{why}"
        )


def _show(data: bytes) -> str:
    most = 12
    shown = data[:most].hex(" ") + (" ..." if len(data) > most else "")
    return f"{len(data)} byte{'s' if len(data) > 1 else ''} ({shown})" if data else "nothing"


def _stored(work: Work, code: Code, outputs: int = 0) -> tuple[bytes, bytes]:
    """Runs a guest. Returns what it stored, and what came out: `outputs` bytes, if all is well."""
    code.stay()
    with _vmm(work, code.image()) as program:
        program.end_input()
        found: list[bytes] = []

        def has_stored() -> bool:
            if process.VCPU not in process.descriptors(program.pid):
                return False
            for place in process.find_all(program.pid, code.tag):
                stored = results(process.read_memory(program.pid, place, _SIZE))
                if stored is not None:
                    found.append(stored)
            return bool(found)

        if not program.wait_until(has_stored):
            why = program.finish().complaint if program.has_ended else "it still runs"
            raise Failed(f"the guest never came to its end: {why}")
        # The bytes are in the pipe already.
        program.wait_until(lambda: len(program.output) >= outputs, work.patience / 6)
        return found[0], bytes(program.output)


def _compare(stored: bytes, expected: list[tuple[str, int]]) -> None:
    for (name, value), found in zip(expected, stored, strict=False):
        if found != value:
            raise Failed(f"{name} is {found:#04x}, not {value:#04x}")


def prints(work: Work) -> str:
    """What the guest writes to THR comes out, a byte for a byte."""
    code = Code()
    expected = b""
    for _ in range(6):
        one, other = _random(), _random()
        code.add(b"\xb0%c" % one)  # mov al, one
        code.print_al(other)
        expected += bytes([(one + other) % 256])
    code.finish()
    with _vmm(work, code.image()) as program:
        program.end_input()
        _expect(program, expected)
    return f"standard output got {_show(expected)}, as the guest computed"


def is_ready(work: Work) -> str:
    """LSR, before and after a byte."""
    code = Code()
    code.read(LSR)
    code.store()
    code.write(THR, _random())
    code.read(LSR)
    code.store()
    stored, _ = _stored(work, code)
    _compare(stored, [("LSR", _READY), ("LSR after a byte", _READY)])
    return f"LSR is {_READY:#x} before and after a byte"


def has_divisor(work: Work) -> str:
    """With DLAB, offsets 0 and 1 are the divisor, and nothing else."""
    code = Code()
    low, high, byte = _random(), _random(), _random()
    code.write(LCR, _DLAB | 3)
    code.write(0, low)
    code.write(1, high)
    code.write(LCR, 3)
    code.write(THR, byte)
    code.read(IER)
    code.store()
    code.write(LCR, _DLAB | 3)
    for offset in (0, 1):
        code.read(offset)
        code.store()
    stored, output = _stored(work, code, outputs=1)
    _compare(
        stored,
        [("IER", 0), ("the divisor's low byte", low), ("the divisor's high byte", high)],
    )
    if output != bytes([byte]):
        raise Failed(f"standard output got {_show(output)} in place of {_show(bytes([byte]))}")
    return f"the divisor is {high:#04x} and {low:#04x}, and one byte came out"


def keeps_registers(work: Work) -> str:
    """LCR, MCR, IER and SCR have the values that were written."""
    code = Code()
    values = [("LCR", LCR, 0x1B), ("MCR", MCR, 0x03), ("IER", IER, 0x05), ("SCR", SCR, _random())]
    for _, register, value in values:
        code.write(register, value)
    for _, register, _ in values:
        code.read(register)
        code.store()
    stored, _ = _stored(work, code)
    _compare(stored, [(name, value) for name, _, value in values])
    return "LCR, MCR, IER and SCR have the values that the guest wrote"


def receives(work: Work) -> str:
    """A byte that comes sets LSR.DR, and RBR has it."""
    code, add, count = Code(), _random(), 4
    code.wait_for_room()
    for _ in range(count):
        code.wait_for_byte()
        code.read(RBR)
        code.print_al(add)
        code.read(LSR)
        code.print_al()
    code.finish()
    expected = b""
    with _vmm(work, code.image()) as program:
        for number in range(count):
            byte = _random()
            expected += bytes([(byte + add) % 256, _READY])
            program.send(bytes([byte]))
            _expect(program, expected, f"after byte {number + 1} of the input, ")
    return f"{count} bytes went in; each came to the guest, and LSR was {_READY:#x} afterwards"


def queues(work: Work) -> str:
    """Bytes that come faster than the guest reads them wait, in their order."""
    code, count = Code(), 8
    code.wait_for_room()
    code.wait_for_byte()
    code.delay(3000)
    for _ in range(count):
        code.read(RBR)
        code.print_al(1)
    code.read(LSR)
    code.print_al()
    code.finish()
    data = bytes(_random() for _ in range(count))
    expected = bytes((byte + 1) % 256 for byte in data) + bytes([_READY])
    with _vmm(work, code.image()) as program:
        program.send(data)
        _expect(program, expected)
    return f"{count} bytes came at once, and the guest got them in their order"


def tells_reason(work: Work) -> str:
    """IIR says why there would be an interrupt."""
    code = Code()
    code.wait_for_room()
    code.write(MCR, 0)

    def show() -> None:
        code.read(IIR)
        code.add(b"\x24%c" % _IIR)  # and al, _IIR
        code.print_al(0x40)

    show()
    code.wait_for_byte()
    show()
    code.write(IER, 1)
    show()
    code.read(RBR)
    show()
    code.finish()
    expected = bytes(0x40 + reason for reason in (_NONE, _NONE, _RECEIVED, _NONE))
    with _vmm(work, code.image()) as program:
        program.send(bytes([_random()]))
        _expect(program, expected, "the guest writes 0x40 plus IIR, four times: ")
    return "IIR is 4 while a byte waits and IER wants it, and 1 otherwise"


def wakes(work: Work) -> str:
    """An interrupt ends the guest's halt for each byte."""
    code, add, count, ready = Code(), _random(), 6, _random()
    code.wait_for_room()
    code.let_interrupts_in()
    code.write(MCR, OUT2 | 3)
    code.write(IER, 1)
    code.write(THR, ready)
    code.add(b"\xf4\xeb\xfd")  # hlt; jmp to it
    # next: in al, LSR; test al, 1; jz done; in al, RBR; add al, ADD; out dx, al; jmp next
    handler = b"\xba\xfd\x03\xec\xa8\x01\x74\x09\xba\xf8\x03\xec\x04%c\xee\xeb\xef" % add
    expected = bytes([ready])
    with _vmm(work, code.image(handler)) as program:
        _expect(program, expected, "before the first byte of input, ")
        for number in range(count):
            byte = _random()
            expected += bytes([(byte + add) % 256])
            program.send(bytes([byte]))
            _expect(program, expected, f"after byte {number + 1} of the input, ")
    return f"the guest slept, and an interrupt woke it for each of {count} bytes"


def asks_first(work: Work) -> str:
    """No interrupt comes before IER and OUT2 say so, and one comes as soon as they do."""
    code, add = Code(), _random()
    code.wait_for_room()
    code.write(MCR, OUT2)
    code.let_interrupts_in()

    def show() -> None:
        code.delay()
        code.load_counter()
        code.print_al(add)

    code.wait_for_byte()
    show()
    code.write(IER, 1)  # a byte waits: the interrupt is due
    show()
    code.write(MCR, 0)
    code.wait_for_byte()
    show()
    code.write(MCR, OUT2)  # a byte waits: the interrupt is due
    show()
    code.finish()
    handler = b"\xba\xf8\x03\xec"  # in al, RBR
    first, second = (bytes((count + add) % 256 for count in counts) for counts in ((0, 1), (1, 2)))
    with _vmm(work, code.image(handler)) as program:
        what = (
            f"the guest writes {add:#x} plus the number of its interrupts, four times; up to the "
        )
        program.send(bytes([_random()]))
        program.wait_until(lambda: len(program.output) >= 2)
        _expect(program, first, what + "second, ")
        program.send(bytes([_random()]))
        _expect(program, first + second, what + "fourth, ")
    return "no interrupt came while IER or OUT2 was 0, and each came when the bit was set"


CHECKS = (
    Check(
        "a byte written to THR comes out",
        1,
        15,
        "the bytes that a guest of random numbers computes, and nothing else",
        "the guest waits for LSR.THRE before each byte; write(THR, value) transmits the value",
        prints,
    ),
    Check(
        "LSR says that the UART is ready",
        1,
        5,
        "LSR is 0x60 before and after a byte is written",
        "THRE and TEMT: a byte is sent at once, so both are 1 always",
        is_ready,
    ),
    Check(
        "the divisor has registers of its own",
        1,
        10,
        "with LCR.DLAB = 1, offsets 0 and 1 are the divisor: nothing is transmitted, IER stays 0",
        "test LCR_DLAB first, in read and in write",
        has_divisor,
    ),
    Check(
        "registers keep their values",
        1,
        5,
        "LCR, MCR, IER and SCR read as the guest wrote them",
        "an attribute of self for each of the four registers: write sets it, read returns it",
        keeps_registers,
    ),
    Check(
        "a received byte is in RBR",
        2,
        15,
        "LSR.DR is 1 when a byte has come; RBR has the byte; then LSR is 0x60 again (the guest "
        "writes two bytes: RBR plus a number, and LSR)",
        "receive() keeps the byte; LSR has LSR_DR while a byte waits; read(RBR) takes the byte",
        receives,
    ),
    Check(
        "bytes wait in their order",
        2,
        10,
        "eight bytes that come at once, each once, the oldest first",
        "keep a queue, not one byte: collections.deque",
        queues,
    ),
    Check(
        "IIR tells the reason",
        3,
        10,
        "IIR is 4 while a byte waits and IER_RECEIVED is 1 in IER; otherwise 1. The guest reads "
        "IIR at first, when a byte has come, when IER_RECEIVED is set, when the byte was read",
        "compute IIR when it is read: it depends on the queue and on IER alone",
        tells_reason,
    ),
    Check(
        "an interrupt wakes the guest",
        3,
        20,
        "a guest that sleeps writes its answer to each byte before the next byte comes",
        "set_irq(True) when a byte waits; set_irq(False) when the last byte was read, or the "
        "interrupt controller sees no second edge",
        wakes,
    ),
    Check(
        "no interrupt comes that nobody asked for",
        3,
        10,
        "no interrupt while IER or MCR.OUT2 is 0; if a byte waits when the bit is set, one at "
        "once. The guest writes the number while IER is 0, and after it sets IER_RECEIVED; while "
        "OUT2 is 0, and after it sets OUT2",
        "the level depends on three things: the queue, IER, MCR; compute the level whenever one of "
        "the three changes, and call set_irq if the level has changed",
        asks_first,
    ),
)
