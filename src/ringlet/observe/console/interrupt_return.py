"""`iretq` from ring 0 to ring 3, done by the debugger.

A KVM that can't step in ring 3 can't stop behind the `iretq` that goes there: the program in ring 3
would run on unseen. So the debugger does what the processor would do, and the vCPU then stands at
the first instruction of ring 3.

Source: Intel SDM volume 2, IRET/IRETD/IRETQ; volume 3, 5.8.6.
"""

from __future__ import annotations

from ringlet.kvm.registers import Segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple

    from ringlet.kvm.registers import Registers, SpecialRegisters
else:
    from ringlet.host.named_tuple import NamedTuple

IRETQ = b"\x48\xcf"
FRAME = 5 * 8  # RIP, CS, RFLAGS, RSP, SS
_EFER_LMA = 1 << 10
_SETTABLE = 0x3F_7FD7  # the flags that IRETQ in ring 0 loads; VM can't be set in 64-bit mode
_RESERVED = 2  # always 1
_CODE, _DATA_WRITABLE, _CONFORMING = 8, 2, 4  # bits of a segment's type


class State(NamedTuple):
    """The registers of a vCPU."""

    registers: Registers
    special: SpecialRegisters


def return_to_ring_3(
    registers: Registers, special: SpecialRegisters, read: Callable[[int, int], bytes]
) -> State | None:
    """Returns the state after the `iretq` at RIP; None if it isn't one from ring 0 to ring 3.

    `read(address, size)` reads linear memory. Returns None, too, where the processor would raise an
    exception.
    """
    if not (special.efer & _EFER_LMA and special.cs.l and special.cs.selector & 3 == 0):
        return None
    if read(registers.rip, 2) != IRETQ:
        return None
    return load_frame(registers, special, read, registers.rsp)


def load_frame(
    registers: Registers,
    special: SpecialRegisters,
    read: Callable[[int, int], bytes],
    at: int,
) -> State | None:
    """Returns the state that the interrupt frame at the linear address `at` saves, if of ring 3."""
    frame = read(at, FRAME)
    if len(frame) < FRAME:
        return None
    words = [int.from_bytes(frame[start : start + 8], "little") for start in range(0, FRAME, 8)]
    rip, cs_selector, rflags, rsp, ss_selector = words
    if cs_selector & 3 != 3 or ss_selector & 3 != 3 or (rip >> 47) not in (0, (1 << 17) - 1):
        return None
    cs, ss = _segment(cs_selector, special, read), _segment(ss_selector, special, read)
    if cs is None or ss is None or not cs.type & _CODE or (cs.l and cs.db) or cs.dpl != 3:
        return None
    if ss.type & (_CODE | _DATA_WRITABLE) != _DATA_WRITABLE or ss.dpl != 3:
        return None
    return State(
        registers._replace(rip=rip, rsp=rsp, rflags=rflags & _SETTABLE | _RESERVED),
        special._replace(
            cs=cs,
            ss=ss,
            ds=_leave(special.ds),
            es=_leave(special.es),
            fs=_leave(special.fs),
            gs=_leave(special.gs),
        ),
    )


def _segment(
    selector: int, special: SpecialRegisters, read: Callable[[int, int], bytes]
) -> Segment | None:
    """Returns the segment of the GDT that a selector names; None if it isn't one, or not there."""
    index = selector & 0xFFF8
    if selector & 4 or index == 0 or index + 7 > special.gdt.limit:
        return None
    data = read(special.gdt.base + index, 8)
    raw = int.from_bytes(data, "little")
    if len(data) < 8 or not raw >> 44 & 1 or not raw >> 47 & 1:
        return None
    limit = raw & 0xFFFF | (raw >> 48 & 0xF) << 16
    granular = raw >> 55 & 1
    return Segment(
        base=raw >> 16 & 0xFF_FFFF | raw >> 56 << 24,
        limit=limit << 12 | 0xFFF if granular else limit,
        selector=selector,
        type=raw >> 40 & 0xF | 1,  # accessed
        present=1,
        dpl=raw >> 45 & 3,
        db=raw >> 54 & 1,
        s=1,
        l=raw >> 53 & 1,
        g=granular,
        avl=raw >> 52 & 1,
    )


def _leave(segment: Segment) -> Segment:
    """Returns a data segment as ring 3 sees it: the kernel's own becomes the null segment."""
    conforming = segment.type & _CODE and segment.type & _CONFORMING
    if segment.dpl < 3 and not conforming:
        return Segment(base=segment.base, unusable=1)
    return segment
