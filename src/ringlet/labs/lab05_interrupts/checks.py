"""The checks of lab 5: two runs of the guest, and its interrupts as the machine shows them.

The numbers of a run are new each time. At a checkpoint the grader reads the local APIC, the PICs,
the IDT in memory, and the frame that the processor has pushed at the interrupt.

Source: Intel SDM volume 3, 6.14 (exception and interrupt handling in 64-bit mode), 11.4.1 (local
APIC registers), 11.5.4 (APIC timer), 11.8.5 (EOI); Linux, struct kvm_lapic_state.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from struct import unpack, unpack_from
from typing import NamedTuple

from ringlet.kvm.core import lib
from ringlet.kvm.irqchip import read_pics
from ringlet.labs.check import HARDWARE_KVM, Check, Failed
from ringlet.labs.watch import read_memory, watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.labs.watch import Watched
    from ringlet.labs.work import Work
    from ringlet.machine.machine import Machine


MEMORY = 4 << 20
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
READY, TICK, STOPPED, SLEEP = 1, 2, 3, 4  # the checkpoints
# The hint if a guest never comes to a checkpoint. If it is empty, the check has a hint of its own.
_ON_THE_WAY = {
    READY: "call checkpoint(1) when all of step 1 is done; if the guest ends before that, "
    "see `make run`",
    TICK: "",
    STOPPED: "make step 2 work first; the end of `make trace` shows how far the guest came",
}
VECTOR = 0x40
# Registers of the local APIC; the in-service bits of VECTOR are in the third of eight.
_SPURIOUS, _IN_SERVICE, _TIMER, _COUNT, _DIVIDE = 0x0F0, 0x120, 0x320, 0x380, 0x3E0
_ENABLED, _MASKED, _MODE, _PERIODIC, _BY_1 = 1 << 8, 1 << 16, 3 << 17, 1 << 17, 0xB
_IF = 1 << 9  # in RFLAGS
_INTERRUPT_GATE = 0x8E
_HLT = b"\xf4"
_INT = b"\xcd"  # and a byte with the vector
_STACK = 1024  # bytes above RSP in which the frame has to be
_PERIOD = 2_000_000  # ns for each second that a student's program has; at most twice as long
_LATE = 2  # interrupts that may come after the last one that the guest waits for


class Numbers(NamedTuple):
    """The numbers of one run, as the command line gives them to the guest."""

    period: int
    ticks: int
    length: int
    sleeps: int

    def cmdline(self) -> str:
        """Returns the command line."""
        return " ".join(f"{name}={value}" for name, value in self._asdict().items())


class Frame(NamedTuple):
    """What the processor has pushed at an interrupt, and which instruction is before RIP."""

    rip: int
    after_halt: bool
    after_int: bool


class Visit(NamedTuple):
    """The machine at a checkpoint."""

    number: int
    interrupts: bool  # RFLAGS.IF
    masks: list[int]  # of the two PICs, at checkpoint 1
    gate: bytes  # of the timer's vector; fewer than 16 bytes if the IDT doesn't have it
    code: int  # the selector in CS
    spurious: int
    timer: int
    initial: int  # the count that the timer begins with
    divide: int
    in_service: bool  # the timer's vector
    frame: Frame | None  # at checkpoint 2
    at: float  # CLOCK_MONOTONIC in seconds


def _look(machine: Machine, number: int) -> Visit:
    vcpu = machine.vm.vcpus[0]
    registers, special = vcpu.registers, vcpu.special_registers
    apic = vcpu.get_state(lib.RINGLET_STATE_LAPIC)
    pics = read_pics(machine.vm) if number == READY else ()
    at = VECTOR * 16
    size = max(0, min(16, special.idt.limit + 1 - at))
    spurious, in_service, timer, count, divide = (
        unpack_from("<I", apic, offset)[0]
        for offset in (_SPURIOUS, _IN_SERVICE, _TIMER, _COUNT, _DIVIDE)
    )
    return Visit(
        number,
        bool(registers.rflags & _IF),
        [pic.masked for pic in pics],
        read_memory(machine, special.idt.base + at, size),
        special.cs.selector,
        spurious,
        timer,
        count,
        divide,
        bool(in_service >> VECTOR % 32 & 1),
        _frame(machine, registers.rsp, special.cs.selector) if number == TICK else None,
        time.monotonic(),
    )


def _frame(machine: Machine, rsp: int, code: int) -> Frame | None:
    """Returns the newest frame on the stack that only an interrupt with IF = 1 can have made."""
    stack = read_memory(machine, rsp, _STACK)
    for at in range(0, len(stack) - 39, 8):
        rip, cs, rflags, old_rsp, _ = unpack_from("<5Q", stack, at)
        # The processor aligns RSP to 16 bytes before it pushes.
        if cs == code and rflags & _IF and 0 <= old_rsp - (rsp + at + 40) < 16:
            before = read_memory(machine, rip - 2, 2)
            return Frame(rip, before[1:] == _HLT, before[:1] == _INT)
    return None


def _run(work: Work, run: int = 0) -> tuple[Numbers, Watched[Visit]]:
    """Returns a run of the guest; run 0 has sleeps that are over at once, and run 1 longer ones."""
    return work.once(_boot, work, run)


def _boot(work: Work, run: int) -> tuple[Numbers, Watched[Visit]]:
    # In ns: KVM's APIC timer has 1 GHz. A slow host needs longer between two interrupts, as a
    # student's program does.
    shortest = int(_PERIOD * work.patience)
    numbers = Numbers(
        period=shortest + secrets.randbelow(shortest),
        ticks=6 + 8 * run + secrets.randbelow(6),
        length=200_000 + secrets.randbelow(100_000) if run else 1,
        sleeps=5 + 8 * run + secrets.randbelow(6),
    )
    image = work.build(*BUILD, most=MAX_IMAGE, files=FILES)
    cmdline = numbers.cmdline()
    return numbers, watch(image, _look, memory=MEMORY, seconds=work.patience, cmdline=cmdline)


def _at(watched: Watched[Visit], number: int) -> Visit:
    for visit in watched.visits:
        if visit.number == number:
            return visit
    raise Failed(f"the guest never came to checkpoint {number}; {watched.end}", _ON_THE_WAY[number])


def _split(watched: Watched[Visit]) -> tuple[list[Visit], list[Visit]]:
    """Returns the visits before and after the first visit to checkpoint 3."""
    at = watched.visits.index(_at(watched, STOPPED))
    return watched.visits[:at], watched.visits[at:]


def _require_interrupts(visits: list[Visit]) -> list[Frame]:
    """Raises `Failed` if one of the visits wasn't in the handler of an interrupt."""
    frames = []
    for visit in visits:
        if visit.frame is None:
            raise Failed(
                "at a checkpoint 2 there is no frame on the stack that the processor has pushed "
                "at an interrupt: the code came there by a call"
            )
        if visit.frame.after_int:
            raise Failed(f"the instruction before {visit.frame.rip:#x} is INT: no timer did that")
        frames.append(visit.frame)
    return frames


def _require_time(first: Visit, last: Visit, count: int, length: int) -> None:
    """Raises `Failed` if `count` interrupts, `length` ns apart, can't have come between the two."""
    passed = int((last.at - first.at) * 1e9)
    if passed < count * length:
        raise Failed(
            f"{count} interrupts of the timer take {count * length} ns; {passed} ns passed"
        )


def has_gate(work: Work) -> str:
    """At checkpoint 1 the IDT in memory has an interrupt gate for the timer."""
    _, watched = _run(work)
    visit = _at(watched, READY)
    if len(visit.gate) < 16:
        raise Failed(f"the IDT has no entry {VECTOR:#x}: see the base and the limit in IDTR")
    low, selector, stack, kind, middle, high = unpack("<HHBBHI4x", visit.gate)
    handler = low | middle << 16 | high << 32
    if kind != _INTERRUPT_GATE or stack:
        raise Failed(f"entry {VECTOR:#x} has type {kind:#x}, stack {stack}")
    if selector != visit.code:
        raise Failed(f"entry {VECTOR:#x} has selector {selector:#x}, and CS is {visit.code:#x}")
    if not 0 < handler < MEMORY or not any(watched.memory[handler : handler + 16]):
        raise Failed(f"entry {VECTOR:#x} leads to {handler:#x}, where there is no code")
    return f"entry {VECTOR:#x} is an interrupt gate to {handler:#x}"


def masks_pics(work: Work) -> str:
    """At checkpoint 1 both PICs are masked."""
    masks = _at(_run(work)[1], READY).masks
    seen = f"the masks are {masks[0]:#04x} and {masks[1]:#04x}"
    if masks != [0xFF, 0xFF]:
        raise Failed(seen)
    return seen


def prepares_timer(work: Work) -> str:
    """At checkpoint 1 the local APIC is on, and its timer is periodic."""
    visit = _at(_run(work)[1], READY)
    wrong = []
    if not visit.spurious & _ENABLED:
        wrong.append("the local APIC is off (bit 8 of its spurious register)")
    if visit.timer & _MASKED:
        wrong.append("the timer is masked")
    if visit.timer & 0xFF != VECTOR:
        wrong.append(f"the timer's vector is {visit.timer & 0xFF:#x}")
    if visit.timer & _MODE != _PERIODIC:
        wrong.append("the timer isn't periodic")
    if visit.divide != _BY_1:
        wrong.append(f"the divide register is {visit.divide:#x}")
    if wrong:
        raise Failed("; ".join(wrong))
    return f"the spurious register is {visit.spurious:#x}, the timer's {visit.timer:#x}"


def handles_first_tick(work: Work) -> str:
    """The first checkpoint 2 is in the handler of the timer's interrupt."""
    numbers, watched = _run(work)
    visit = _at(watched, TICK)
    (frame,) = _require_interrupts([visit])
    if visit.initial != numbers.period:
        raise Failed(f"the timer counts {visit.initial}, and the period is {numbers.period}")
    _require_time(_at(watched, READY), visit, 1, numbers.period)
    return f"the timer counts {visit.initial}, and interrupted the code at {frame.rip:#x}"


def halts(work: Work) -> str:
    """The first interrupt ended a HLT."""
    (frame,) = _require_interrupts([_at(_run(work)[1], TICK)])
    if not frame.after_halt:
        raise Failed(f"the interrupt came at {frame.rip:#x}, and the instruction before is no HLT")
    return f"the interrupt came at {frame.rip:#x}, behind a HLT"


def ticks_go_on(work: Work) -> str:
    """As many interrupts as the command line asks for, and then none is in service."""
    seen = []
    for run in (0, 1):
        numbers, watched = _run(work, run)
        ticks = [visit for visit in watched.visits if visit.number == TICK]
        if not any(visit.number == STOPPED for visit in watched.visits):
            raise Failed(f"{len(ticks)} of {numbers.ticks} interrupts came, then {watched.end}")
        before, after = _split(watched)
        ticks = [visit for visit in before if visit.number == TICK]
        _require_interrupts(ticks)
        if not numbers.ticks <= len(ticks) <= numbers.ticks + _LATE:
            raise Failed(f"{len(ticks)} interrupts came; ticks={numbers.ticks}")
        _require_time(_at(watched, READY), after[0], numbers.ticks, numbers.period)
        if after[0].in_service:
            raise Failed(f"at checkpoint 3, vector {VECTOR:#x} is still in service")
        if after[0].initial and not after[0].timer & _MASKED:
            raise Failed("at checkpoint 3, the timer still runs")
        seen.append(str(len(ticks)))
    return f"{' and '.join(seen)} interrupts came, and none is in service at the end"


def sleeps(work: Work) -> str:
    """Each sleep is one interrupt of a timer that counts once, and then the run ends."""
    seen = []
    for run in (0, 1):
        numbers, watched = _run(work, run)
        _, after = _split(watched)
        starts = [visit for visit in after if visit.number == SLEEP]
        ticks = [visit for visit in after if visit.number == TICK]
        if len(starts) != numbers.sleeps or len(ticks) != numbers.sleeps:
            raise Failed(
                f"{len(starts)} sleeps with {len(ticks)} interrupts; sleeps={numbers.sleeps}; "
                f"{watched.end}"
            )
        _require_interrupts(ticks)
        for visit in starts:
            if visit.timer & (_MASKED | _MODE) or visit.initial != numbers.length:
                raise Failed(
                    f"at checkpoint 4, the timer's register is {visit.timer:#x}, its initial count "
                    f"{visit.initial}; length={numbers.length}"
                )
        _require_time(starts[0], ticks[-1], numbers.sleeps - 1, numbers.length)
        if watched.status != 0:
            raise Failed(watched.end)
        seen.append(str(numbers.sleeps))
    return f"{' and '.join(seen)} sleeps, one interrupt for each"


def loses_no_interrupt(work: Work) -> str:
    """No interrupt can come between the guest's test and its HLT."""
    for run in (0, 1):
        _, watched = _run(work, run)
        _, after = _split(watched)
        starts = [visit for visit in after if visit.number == SLEEP]
        if not starts:
            raise Failed(f"the guest never came to checkpoint 4; {watched.end}")
        if any(visit.interrupts for visit in starts):
            raise Failed("at checkpoint 4, RFLAGS.IF is 1: the interrupt may come before the HLT")
        frames = _require_interrupts([visit for visit in after if visit.number == TICK])
        if not frames:
            raise Failed(f"no interrupt came after checkpoint 4; {watched.end}")
        for frame in frames:
            if not frame.after_halt:
                raise Failed(f"an interrupt came at {frame.rip:#x}, which isn't behind a HLT")
    return "interrupts were off at each checkpoint 4, and each interrupt ended a HLT"


CHECKS = (
    Check(
        "checkpoint 1: the IDT has a gate for the timer",
        1,
        15,
        "entry 0x40 of the table that IDTR names is a present 64-bit interrupt gate to your "
        "handler, with the selector that is in CS",
        "an entry has 16 bytes, and its type is 0x8e; lidt takes the table's size less 1, and its "
        "address",
        has_gate,
    ),
    Check(
        "checkpoint 1: the old interrupt controllers are silent",
        1,
        5,
        "the masks of both PICs are 0xff",
        "write 0xff to the ports PIC1_MASK and PIC2_MASK",
        masks_pics,
    ),
    Check(
        "checkpoint 1: the local APIC and its timer are prepared",
        1,
        15,
        "the local APIC is on; the timer is periodic, not masked, with vector 0x40, divided by 1",
        "LAPIC_SPURIOUS takes LAPIC_ENABLE and a vector; turn the APIC on before you write the "
        "timer's register, which is masked while the APIC is off",
        prepares_timer,
    ),
    Check(
        "the timer's interrupt reaches the handler",
        2,
        15,
        "at checkpoint 2, the frame of an interrupt is on the stack, and the timer's initial count "
        "is the period of the command line",
        "write the period to LAPIC_TIMER_COUNT after checkpoint 1; let interrupts in by sti",
        handles_first_tick,
    ),
    Check(
        "the processor is halted until the interrupt comes",
        2,
        10,
        "the address in the interrupt's frame is behind a HLT",
        "a loop that only looks at a variable keeps the processor busy: halt in the loop",
        halts,
    ),
    Check(
        "all interrupts come, each with its end",
        2,
        20,
        "as many interrupts as the command line says; at checkpoint 3 none is in service, and the "
        "timer has stopped",
        "the local APIC sends no second interrupt of this vector before it gets an EOI, a write of "
        "0 to LAPIC_EOI; count in a variable that is volatile",
        ticks_go_on,
        HARDWARE_KVM,
    ),
    Check(
        "a sleep is one interrupt",
        3,
        10,
        "at each checkpoint 4 the timer counts once, from the length of the command line; each "
        "sleep has one interrupt; then the run ends with status 0",
        "write LAPIC_TIMER without TIMER_PERIODIC; the write to LAPIC_TIMER_COUNT starts the "
        "timer; a handler without __attribute__((interrupt)) ends with RET in place of IRETQ, and "
        "the guest crashes later",
        sleeps,
        HARDWARE_KVM,
    ),
    Check(
        "no interrupt is lost before the halt",
        3,
        10,
        "RFLAGS.IF is 0 at each checkpoint 4, and each interrupt comes at a HLT",
        "test with interrupts off; `sti` lets interrupts in only after the next instruction, so "
        "write `sti; hlt; cli` in one asm statement",
        loses_no_interrupt,
        HARDWARE_KVM,
    ),
)
