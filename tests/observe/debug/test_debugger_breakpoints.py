"""The debugger's engine on real guests: breakpoints and watchpoints."""

import time

import pytest

from ringlet import RingletError

from ...boot.elf_builder import Part, build
from ...machine_code import exit_with
from ..guest import debugged, go, step, where

pytestmark = pytest.mark.needs_kvm

CODE = 0x7C00
NO_REGISTERS = {"execute": False}  # as in the machine that QEMU emulates
REGISTERS_OR_NONE = pytest.mark.parametrize("able", [None, NO_REGISTERS], ids=["", "port-trap"])


@REGISTERS_OR_NONE
def test_a_breakpoint_by_symbol_and_what_follows(able: dict[str, bool]) -> None:
    with debugged("rings", able=able) as debugger:
        debugger.add_breakpoint("ring_3_enter")
        assert where(debugger, go(debugger)) == "breakpoint ring_3_enter"
        debugger.remove_breakpoint("ring_3_enter")
        debugger.add_breakpoint("system_call")
        calls = 0
        while (stop := go(debugger)).reason != "end":
            assert where(debugger, stop) == "breakpoint system_call"
            calls += 1
        assert (calls, stop.detail) == (3, "exit-port")


@REGISTERS_OR_NONE
def test_more_breakpoints_than_debug_registers(able: dict[str, bool]) -> None:
    code = b"\x89\xc0" * 8 + exit_with(0)  # mov ax, ax
    with debugged(code, able=able) as debugger:
        places = [CODE + 2 * number for number in range(1, 8)]
        for place in places:
            debugger.add_breakpoint(place)
        found = []
        while (stop := go(debugger)).reason == "breakpoint":
            assert debugger.read(CODE, len(code)) == code, "breakpoints aren't seen in memory"
            found.append(stop.address)
        assert found == places
        assert stop.reason == "end"


@REGISTERS_OR_NONE
def test_a_breakpoint_in_a_loop_is_met_each_time_around(able: dict[str, bool]) -> None:
    # mov cx, 3; loop: dec cx; jnz loop
    with debugged(b"\xb9\x03\x00\x83\xe9\x01\x75\xfb" + exit_with(0), able=able) as debugger:
        debugger.add_breakpoint(CODE + 3)
        counts = []
        while go(debugger).reason == "breakpoint":
            counts.append(debugger.registers().rcx)
        assert counts == [3, 2, 1]


@REGISTERS_OR_NONE
def test_a_guests_own_write_to_the_traps_port_is_no_stop(able: dict[str, bool]) -> None:
    # out 0xe5, al; out 0xe6, al; mov ax, ax
    with debugged(b"\xe6\xe5\xe6\xe6\x89\xc0" + exit_with(1), able=able) as debugger:
        debugger.add_breakpoint(CODE + 4)
        stop = go(debugger)
        assert (stop.reason, stop.address) == ("breakpoint", CODE + 4)
        assert go(debugger).detail == "exit-port"
        assert debugger.machine.unclaimed.writes == 2


def test_an_address_of_the_image_that_isnt_mapped_yet() -> None:
    high = 0xFFFF_FFFF_8010_0000
    code = b"\x89\xc0" * 4 + exit_with(4)
    image = bytes(build(64, [Part(0x10_0000, code, virtual=high)], entry=0x10_0000))
    with debugged(image, protocol="elf64", able=NO_REGISTERS) as debugger:
        assert debugger.vcpu().translate(high + 4) is None
        debugger.add_breakpoint(high + 4)
        stop = go(debugger)  # all addresses of the same memory have the breakpoint
        assert (stop.reason, stop.address) == ("breakpoint", 0x10_0004)
        with pytest.raises(RingletError, match="no page is mapped"):
            debugger.add_breakpoint(high + len(code) + 0x1000)


def test_a_jump_to_a_handler_leaves_the_stack_alone() -> None:
    # mov word [6 * 4], CODE + 0x20; mov word [6 * 4 + 2], 0; jmp CODE + 0x20
    code = b"\xc7\x06\x18\x00\x20\x7c\xc7\x06\x1a\x00\x00\x00\xeb\x12"
    with debugged(code.ljust(0x20, b"\x90") + b"\x90" + exit_with(0)) as debugger:
        step(debugger)
        step(debugger)
        debugger.write(debugger.registers().rsp, b"\xff" * 8)
        assert step(debugger).address == CODE + 0x20
        assert debugger.read(debugger.registers().rsp, 8) == b"\xff" * 8


def test_a_hardware_breakpoint_waits_for_code_that_comes_later() -> None:
    # mov byte [0x600], 0xc3; call 0x600: the routine is written by the guest itself
    code = b"\xc6\x06\x00\x06\xc3\xe8" + (0x600 - CODE - 8 & 0xFFFF).to_bytes(2, "little")
    with debugged(code + exit_with(0)) as debugger:
        debugger.add_breakpoint(0x600, hardware=True)
        stop = go(debugger)
        assert (stop.reason, stop.address) == ("breakpoint", 0x600)
        assert debugger.read(0x600, 1) == b"\xc3"
        assert go(debugger).reason == "end"


def test_code_segments_with_a_base_have_linear_addresses() -> None:
    # jmp 0x7c0:6; nop; then code at CS 0x7c0, where RIP begins at 6
    code = b"\xea\x06\x00\xc0\x07\x90" + b"\x89\xc0" + exit_with(0)
    with debugged(code) as debugger:
        debugger.add_breakpoint(CODE + 6)
        stop = go(debugger)
        assert (stop.reason, stop.address) == ("breakpoint", CODE + 6)
        assert debugger.registers().rip == 6
        assert debugger.special_registers().cs.base == CODE
        assert step(debugger).address == CODE + 8
        assert go(debugger).detail == "exit-port"


def test_all_vcpus_stop_and_two_at_one_breakpoint_both_count() -> None:
    with debugged("smp", cpus=3) as debugger:
        debugger.add_breakpoint("processor_main")
        met = []
        while (stop := go(debugger)).reason == "breakpoint":
            assert where(debugger, stop) == "breakpoint processor_main"
            assert [debugger.next_address(vcpu) for vcpu in range(3)][stop.vcpu] == stop.address
            met.append(stop.vcpu)
        assert sorted(met) == [1, 2]
        assert stop.detail == "exit-port"


@REGISTERS_OR_NONE
def test_vcpus_that_run_the_same_code_meet_the_breakpoint_each_time(
    able: dict[str, bool],
) -> None:
    with debugged("smp", cpus=4, able=able) as debugger:
        debugger.add_breakpoint("print")
        met = []
        while (stop := go(debugger)).reason == "breakpoint":
            met.append(stop.vcpu)
        assert (met, stop.detail) == ([0, 1, 2, 3, 0], "exit-port")


WATCHED = 0x600
# mov word [0x5f0], 1; mov word [0x600], 2; mov ax, [0x600]; mov word [0x5ff], 0x303
STORES = (
    b"\xc7\x06\xf0\x05\x01\x00" + b"\xc7\x06\x00\x06\x02\x00" + b"\xa1\x00\x06"
    + b"\xc7\x06\xff\x05\x03\x03" + exit_with(9)
)  # fmt: skip


def test_a_watchpoint_stops_behind_each_write() -> None:
    with debugged(STORES) as debugger:
        assert debugger.add_watchpoint(WATCHED, 4) == WATCHED
        stop = go(debugger)
        assert (stop.reason, stop.address, stop.data) == ("watchpoint", CODE + 12, WATCHED)
        assert debugger.read(WATCHED, 2) == b"\2\0"
        assert debugger.read(0x5F0, 1) == b"\1", "the guest's other writes are done"
        stop = go(debugger)
        assert (stop.reason, stop.address) == ("watchpoint", CODE + 21)
        assert debugger.read(0x5FF, 2) == b"\3\3"
        debugger.remove_watchpoint(WATCHED, 4)
        assert go(debugger).detail == "exit-port"
        assert debugger.machine.wait().status == 9  # type: ignore[union-attr]


def test_a_step_over_a_watched_write_tells_of_it() -> None:
    with debugged(STORES) as debugger:
        debugger.add_watchpoint(WATCHED, 2)
        assert step(debugger).reason == "step"
        stop = step(debugger)
        assert (stop.reason, stop.address, stop.data) == ("watchpoint", CODE + 12, WATCHED)
        assert step(debugger).reason == "step"
        assert debugger.registers().rax & 0xFFFF == 2


def test_a_watched_variable_of_two_vcpus() -> None:
    with debugged("smp", cpus=3) as debugger:
        started = debugger.add_watchpoint("started")
        met = []
        while (stop := go(debugger)).reason == "watchpoint":
            assert stop.data == started
            met.append((stop.vcpu, debugger.read(started, 1)[0]))
        assert met == [(1, 2), (2, 3)]
        assert stop.detail == "exit-port"


def test_watchpoints_end_with_the_debugger() -> None:
    with debugged(b"\xc7\x06\x00\x06\x02\x00\xeb\xf8") as debugger:  # again and again
        debugger.add_watchpoint(WATCHED)
        assert go(debugger).reason == "watchpoint"
        debugger.detach()
        time.sleep(0.05)
        assert debugger.wait(0.2) is None
        assert debugger.machine.usage().exits["mmio"] == 1  # type: ignore[index]


def test_a_watchpoint_where_it_cant_be() -> None:
    with debugged("hello", memory=4 << 20) as debugger:
        for address, size in ((4 << 20, 8), ((4 << 20) - 4, 8), (0xFEE0_0000, 4)):
            with pytest.raises(RingletError, match="no RAM"):
                debugger.add_watchpoint(address, size)
        for size in (0, 5000):
            with pytest.raises(RingletError, match="can't be watched"):
                debugger.add_watchpoint(0x1000, size)
        if not debugger.abilities.watch:
            with pytest.raises(RingletError, match="no watchpoints for reads"):
                debugger.add_watchpoint(0x1000, reads=True)


def test_no_breakpoint_in_ring_3_where_ring_3_has_none() -> None:
    with debugged("rings", able={"trap_ring_3": False}) as debugger:
        debugger.add_breakpoint("ring_3_enter")
        go(debugger)
        with pytest.raises(RingletError, match="breakpoints in ring 3"):
            debugger.add_breakpoint("user")
