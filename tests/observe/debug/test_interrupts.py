"""The interrupt state of a guest, for people to read."""

import pytest

from ringlet.observe.debug.interrupts import interrupt_lines

from ...machine_code import SPIN
from ..guest import debugged, go, wait

pytestmark = pytest.mark.needs_kvm


def test_a_guest_with_a_timer() -> None:
    with debugged("timer") as debugger:
        debugger.add_breakpoint("main")
        go(debugger)
        debugger.remove_breakpoint("main")
        before = interrupt_lines(debugger.machine)
        assert before[0] == "vCPU 0: interrupts off"
        assert before[1].endswith("requested none, in service none, timer masked")
        for _ in range(20):
            debugger.next_exit()
            if wait(debugger).reason == "end":
                break
            lines = interrupt_lines(debugger.machine)
            if "timer vector 0x" in lines[1]:
                assert "local APIC enabled" in lines[1]
                break
        else:
            raise AssertionError(lines)


def test_an_interrupt_that_waits_is_shown() -> None:
    with debugged(SPIN) as debugger:
        line = debugger.machine.irq_line(4)
        line.set(True)
        shown = "\n".join(interrupt_lines(debugger.machine))
        assert "PIC 0: requested 0b00010000" in shown
        assert "PIC 1: requested 0b00000000" in shown
