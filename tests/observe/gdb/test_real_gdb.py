"""Real GDB debugs real guests, in batch mode."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ringlet import Machine, MachineConfig, debug
from ringlet.machine.guests import FOLDER
from ringlet.observe.debug.debugger import Debugger
from ringlet.observe.gdb.server import GdbServer

pytestmark = [pytest.mark.needs_kvm, pytest.mark.needs_gdb]

PATIENCE = 60  # seconds


@contextmanager
def served(
    image: str | bytes, where: str = "0", *, running: bool = False, **options: Any
) -> Iterator[tuple[Debugger, GdbServer, list[str]]]:
    """A guest that is served to GDB, and what the server told the user."""
    told: list[str] = []
    config = MachineConfig(image=image, **{"serial": "none", "timeout": PATIENCE, **options})
    with (
        Machine(config) as machine,
        Debugger(machine, running=running) if running else debug(machine) as debugger,
        GdbServer(debugger, where, told.append) as server,
    ):
        machine.start()
        yield debugger, server, told


def gdb(place: str, *commands: str, symbols: str = "") -> str:
    """What GDB prints for these commands."""
    words = [
        "gdb",
        "-q",
        "-nx",
        "-batch",
        *([str(Path(FOLDER) / f"{symbols}.debug")] * bool(symbols)),
    ]
    for command in ("set confirm off", f"target remote {place}", *commands):
        words += ["-ex", command]
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        check=False,
    )
    return done.stdout.decode()


def in_order(output: str, *parts: str) -> None:
    """Each of `parts` stands in `output`, in this order."""
    at = 0
    for part in parts:
        found = output.find(part, at)
        assert found >= 0, f"no {part!r} after character {at} of:\n{output}"
        at = found + len(part)


def test_symbols_step_over_and_finish() -> None:
    with served("smp") as (_, server, _):
        output = gdb(
            server.place,
            *("break main", "continue", "next", "next", "next", "next", "step", "bt", "finish"),
            *("info registers rip", "delete", "continue"),
            symbols="smp",
        )
    in_order(
        output,
        "pvh_start () at lib/pvh.S:",
        "Breakpoint 1, main (info=0x7000) at smp/smp.c:",
        "install_trampoline () at smp/trampoline.S:",
        "#0  install_trampoline ()",
        "#1 ",
        "in main (",
        "main (info=",
        "at smp/smp.c:",
        "rip ",
        "<main+",
        "[Inferior 1 (Remote target) exited normally]",
    )


def test_vcpus_are_threads() -> None:
    with served("smp", cpus=2) as (_, server, _):
        output = gdb(
            server.place,
            *("info threads", "break processor_main", "continue", "info threads", "thread 1"),
            *("bt", "delete", "thread 2", "stepi", "continue"),
            symbols="smp",
        )
    in_order(
        output,
        "* 1    Thread 1 (vCPU 0, running)",
        "  2    Thread 2 (vCPU 1, not started)",
        "[Switching to Thread 2]",
        "Thread 2 hit Breakpoint 1, processor_main ()",
        "  1    Thread 1 (vCPU 0, running)",
        "* 2    Thread 2 (vCPU 1, running)",
        "main (info=",
        "[Inferior 1 (Remote target) exited normally]",
    )


def test_a_breakpoint_in_64_bit_code_and_the_registers_there() -> None:
    with served("longmode") as (_, server, _):
        output = gdb(
            server.place,
            *("hbreak main", "continue", "info registers cs cr0 efer eflags", "p $cr3 != 0"),
            *("p/x *info", "kill"),
            symbols="longmode",
        )
    in_order(
        output,
        "Breakpoint 1, main (info=",
        "cs             0x8",
        "cr0            0x80000011          [ PE ET PG ]",
        "efer           0x500               [ LME LMA ]",
        "= 1",
        "magic = 0x336ec578",
        "killed]",
    )


def test_a_breakpoint_in_real_mode() -> None:
    with served("hello16") as (_, server, _):
        output = gdb(
            server.place,
            *("info registers rip cs cr0", "break done", "continue", "p $al"),
            *("monitor code", "set var $rax = 7", "continue"),
            symbols="hello16",
        )
    in_order(
        output,
        "start () at hello16/hello16.S:",
        "0x7c00 <start>",
        "cr0            0x10                [ ET ]",
        "Breakpoint 1, done ()",
        "$1 = 0",
        "vCPU 0: 16-bit real mode",
        "done:",
        "out 0xf4, al",
        "exited with code 07",
    )


def test_a_breakpoint_before_and_after_each_change_of_mode() -> None:
    """32 bits without paging at first, then 64 bits: GDB's registers stay the same ones."""
    with served("hello") as (_, server, _):
        output = gdb(server.place, "p $cr0 & 1", "stepi", "p $rip", "kill", symbols="hello")
    in_order(output, "= 1", "pvh_start+1", "killed]")
    with served("smp", cpus=2) as (_, server, _):
        output = gdb(
            server.place,
            # The second vCPU comes to the trampoline in real mode, and leaves it in long mode.
            *("hbreak *0x10000", "hbreak processor_start", "continue", "p $cr0 & 1", "p $cs_base"),
            *("stepi", "p $rip", "continue", "p $efer", "continue"),
            symbols="smp",
        )
    in_order(
        output,
        "Thread 2 hit Breakpoint 1, 0x0000000000010000",
        "$1 = 0",
        "$2 = (void *) 0x10000",
        "$3 = (void (*)()) 0x10001",
        "Thread 2 hit Breakpoint 2, ",
        "at smp/trampoline.S:",
        "LME LMA",
        "exited normally",
    )


def test_memory_and_registers_are_written() -> None:
    with served(b"\x90" * 16 + b"\xe6\xf4", protocol="flat") as (debugger, server, _):
        output = gdb(
            server.place,
            *("set {char[4]} 0x7c00 = {0x40, 0x40, 0x40, 0x40}", "x/4xb 0x7c00"),
            *("set var $rax = 38", "set var $xmm3.v2_int64[1] = 0x1234", "p $xmm3.v2_int64[1]"),
            *("set var $mxcsr = 0x1f80", "set var $fctrl = 0x37f", "p/x $fctrl"),
            *("set var $gs_base = 0x5000", "p $gs_base", "set var $cr2 = 0x77", "p $cr2"),
            "continue",
        )
        result = debugger.machine.wait(PATIENCE)
    in_order(output, "0x40\t0x40\t0x40\t0x40", "= 4660", "= 0x37f", "= 20480", "= 119", "code 052")
    assert result is not None
    assert result.status == 42


def test_the_monitor_answers() -> None:
    with served("rings") as (_, server, _):
        output = gdb(
            server.place,
            *("break main", "continue", "monitor help", "monitor exits", "monitor page main"),
            *("monitor page 0x100000", "monitor interrupts", "monitor devices com1"),
            *("monitor registers", "monitor abilities", "monitor devises", "kill"),
            symbols="rings",
        )
    in_order(
        output,
        "monitor interrupts",
        "vCPU 0: port ",
        "no address is named",
        "linear 0x100000: 4-level paging",
        "local APIC",
        "I/O APIC",
        "PIC 0",
        "lcr    ",
        "vCPU 0: 64-bit mode, ring 0",
        "cs 0008  ring 0",
        "single steps",
        "there is no command 'devises'",
        "did you mean `devices`?",
    )


def test_a_guest_that_runs_is_interrupted_and_detached() -> None:
    with served("spin", running=True) as (debugger, server, _):
        output = gdb(server.place, "p $rip", "detach", symbols="spin")
        assert "detached]" in output
        assert debugger.wait(0.1) is None, "the guest runs on"
        debugger.kill()


def test_a_triple_fault_is_a_stop_that_says_so() -> None:
    with served("crash") as (debugger, server, _):
        output = gdb(server.place, "continue", "info symbol $rip", "continue", symbols="crash")
        result = debugger.machine.wait(PATIENCE)
    in_order(output, "triple fault", "SIGSEGV", "exited with code 0106")
    assert result is not None
    assert result.reason == "triple-fault"


def test_an_address_that_isnt_mapped_and_a_breakpoint_there() -> None:
    with served("longmode") as (_, server, told):
        output = gdb(
            server.place,
            *("x/1xb 0x10000000000", "break *0x10000000000", "continue", "kill"),
            symbols="longmode",
        )
    in_order(output, "Cannot access memory at address 0x10000000000", "Cannot insert breakpoint 1")
    assert any("no page is mapped at 0x10000000000" in line for line in told)


def test_a_watchpoint() -> None:
    with served("smp", cpus=2) as (_, server, _):
        output = gdb(
            server.place,
            *("break main", "continue", "watch started", "continue", "continue"),
            symbols="smp",
        )
    in_order(
        output,
        "Hardware watchpoint 2: started",
        "Thread 2 hit Hardware watchpoint 2: started",
        "Old value = 1",
        "New value = 2",
        "processor_main () at smp/smp.c",
        "exited normally",
    )


def test_a_watchpoint_by_steps_of_gdb() -> None:
    with served("smp", cpus=2) as (_, server, _):
        output = gdb(
            server.place,
            *("break processor_main", "continue", "delete", "set can-use-hw-watchpoints 0"),
            *("watch started", "continue", "bt 1", "kill"),
            symbols="smp",
        )
    in_order(output, "Watchpoint 2: started", "Old value = 1", "New value = 2", "processor_main")


def test_a_unix_socket_is_its_users_alone_and_goes(tmp_path: Path) -> None:
    path = tmp_path / "gdb"
    with served("hello", str(path)) as (_, server, _):
        assert path.is_socket()
        assert path.stat().st_mode & 0o777 == 0o600
        assert "exited normally" in gdb(server.place, "continue", symbols="hello")
    assert not path.exists()
