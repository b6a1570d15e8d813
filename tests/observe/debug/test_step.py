"""Where a step may end, in each mode of the processor."""

import pytest

from ringlet.observe.debug.step import Step

from ..guest import debugged, go

pytestmark = pytest.mark.needs_kvm

CODE = 0x7C00


def test_the_handlers_of_likely_exceptions_in_long_mode() -> None:
    with debugged("rings") as debugger:
        debugger.add_breakpoint("ring_3_enter")
        go(debugger)
        step = Step(debugger.vcpu(), debugger.machine.memory)
        names = [debugger.symbols.describe(address) for address in step.handlers()]
        assert names[:2] == ["page_fault", "general_protection"]
        assert not step.goes_to_ring_3


def test_an_int3_goes_to_its_own_handler_first() -> None:
    with debugged("rings") as debugger:
        debugger.add_breakpoint("ring_3_enter")
        go(debugger)
        at = debugger.address_of("ring_3_enter")
        for code, first in ((b"\xcc", "system_call"), (b"\xcd\x0d", "general_protection")):
            debugger.write(at, code)
            step = Step(debugger.vcpu(), debugger.machine.memory)
            assert debugger.symbols.describe(step.handlers()[0]) == first


def test_a_return_to_ring_3_is_seen() -> None:
    with debugged("rings") as debugger:
        debugger.add_breakpoint("ring_3_enter")
        go(debugger)
        registers = debugger.registers()
        debugger.write(registers.rip, b"\x48\xcf")  # iretq
        for selector, expected in ((0x08, False), (0x23, True)):
            debugger.write(registers.rsp + 8, bytes([selector, 0]))
            assert Step(debugger.vcpu(), debugger.machine.memory).goes_to_ring_3 == expected


def test_the_handlers_of_real_mode_come_from_its_table() -> None:
    with debugged(b"\xcd\x21") as debugger:  # int 0x21
        debugger.write(4 * 0x21, b"\x34\x12\x00\x10")
        debugger.write(4 * 6, b"\x10\x00\x00\x20")
        step = Step(debugger.vcpu(), debugger.machine.memory)
        assert step.handlers()[0] == 0x11234
        assert 0x20010 in step.handlers()


def test_no_handler_without_a_table() -> None:
    with debugged("hello") as debugger:
        assert Step(debugger.vcpu(), debugger.machine.memory).handlers() == []
