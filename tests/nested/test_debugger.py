"""The debugger on a processor's KVM: rings, exceptions, and a stock Linux from its first step."""

import os
from pathlib import Path

import pytest

from ringlet import Machine, MachineConfig, RingletError, debug
from ringlet.board.layout import MIB
from ringlet.linux.command import LinuxCommand, run
from ringlet.linux.guest import LinuxGuest
from ringlet.observe.gdb.server import GdbServer

# Those of a plain `make test`, on this KVM.
from ..observe.debug.test_debugger import (  # noqa: F401
    test_a_crash_stops_before_the_end_with_its_registers,
    test_a_step_of_an_instruction_at_fault_ends_at_the_handler,
    test_a_step_over_an_access_ends_behind_it_once_the_device_has_answered,
    test_pushf_doesnt_show_the_trap_flag,
    test_stepping_shows_each_change_of_ring,
)
from ..observe.debug.test_debugger_breakpoints import (  # noqa: F401
    test_a_breakpoint_by_symbol_and_what_follows,
    test_a_watched_variable_of_two_vcpus,
    test_a_watchpoint_stops_behind_each_write,
    test_more_breakpoints_than_debug_registers,
    test_vcpus_that_run_the_same_code_meet_the_breakpoint_each_time,
)
from ..observe.gdb.test_real_gdb import gdb, in_order
from ..observe.guest import debugged, go, step, wait, where

LONG = 180  # seconds, on a machine that is emulated and busy


def test_a_hardware_breakpoint_stops_or_is_refused() -> None:
    with debugged("rings") as debugger:
        if not debugger.abilities.execute:
            with pytest.raises(RingletError, match="no hardware breakpoints"):
                debugger.add_breakpoint("main", hardware=True)
            return
        debugger.add_breakpoint("main", hardware=True)
        assert where(debugger, go(debugger)) == "breakpoint main"
        debugger.remove_breakpoint("main", hardware=True)
        debugger.add_breakpoint("user", hardware=True)
        assert where(debugger, go(debugger)) == "breakpoint user"
        assert debugger.special_registers().ss.dpl == 3


def kernel_symbols(kernel: Path, *names: str) -> dict[str, int]:
    """The addresses of these symbols, which are the same at each boot: there is no KASLR."""
    pattern = "\\|".join(names)
    command = f"grep -w '{pattern}' /proc/kallsyms"
    done = run(kernel, command, memory=256 * MIB, timeout=LONG)
    lines = (line.split() for line in done.stdout.decode().splitlines())
    return {name: int(address, 16) for address, _, name in lines}


def test_linux_with_two_vcpus_is_stopped_and_stepped_and_ends_as_it_should(
    cloud_kernel: Path,
) -> None:
    symbols = kernel_symbols(cloud_kernel, "start_secondary", "schedule")
    reader, writer = os.pipe()
    options = {"cpus": 2, "memory": 256 * MIB, "timeout": LONG}
    guest = LinuxGuest(cloud_kernel)
    with (
        LinuxCommand(guest, "nproc; exit 3", stdio=(0, writer, 2), **options) as machine,
        debug(machine) as debugger,
    ):
        machine.start()
        wait(debugger)
        debugger.add_breakpoint(symbols["start_secondary"])
        stop = go(debugger)
        assert (stop.reason, stop.vcpu) == ("breakpoint", 1)
        debugger.remove_breakpoint(symbols["start_secondary"])
        debugger.add_breakpoint(symbols["schedule"])
        for _ in range(6):
            stop = go(debugger)
            assert (stop.reason, stop.address) == ("breakpoint", symbols["schedule"])
        debugger.remove_breakpoint(symbols["schedule"])
        for _ in range(3):
            debugger.continue_()
            debugger.stop()
            assert wait(debugger).reason == "interrupt"
            for number in range(40):
                assert step(debugger, number % 2).reason == "step"
        debugger.detach()
        result = machine.wait(LONG)
    os.close(writer)
    assert result is not None
    assert (result.reason, result.status) == ("exit", 3)
    with open(reader, "rb") as output:
        assert output.read() == b"2\n"


def test_linux_from_its_first_instruction_to_start_kernel(cloud_kernel: Path) -> None:
    options = {"memory": 256 * MIB, "timeout": LONG}
    symbols = kernel_symbols(cloud_kernel, "start_kernel", "rest_init")
    with (
        Machine(MachineConfig(image=cloud_kernel, serial="none", **options)) as machine,
        debug(machine) as debugger,
        GdbServer(debugger, "0") as server,
    ):
        machine.start()
        wait(debugger)
        output = gdb(
            server.place,
            *("x/i $pc", "stepi", "stepi", "p $cr3 != 0", "p $rip < 0x10000000"),
            f"break *{symbols['start_kernel']:#x}",
            *("continue", "p/x $rip", "p $cs", "stepi"),
            f"monitor page {symbols['start_kernel']:#x}",
            f"break *{symbols['rest_init']:#x}",
            *("delete 1", "continue", "p/x $rip", "kill"),
        )
    in_order(
        output,
        "=> 0x1000000:",
        "0x0000000001",
        "= 1",
        "= 1",
        "Breakpoint 1, ",
        f"= {symbols['start_kernel']:#x}",
        "= 16",
        f"linear {symbols['start_kernel']:#x}: 4-level paging",
        "mapped: physical",
        "Breakpoint 2, ",
        f"= {symbols['rest_init']:#x}",
        "killed]",
    )
