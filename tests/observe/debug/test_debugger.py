"""The debugger's engine on real guests: stops, steps, breakpoints, registers, memory, ends."""

import threading
import time

import pytest

from ringlet import MachineConfig, RingletError, debug
from ringlet.kvm.exits import PortRead, PortWrite
from ringlet.kvm.memory import GuestMemoryError
from ringlet.observe.debug.debugger import Debugger

from ...machine_code import EXIT, IN_AL_DX, MOV_DX_PORT, PORT, SPIN, exit_with, machine
from ..guest import PATIENCE, debugged, go, step, wait, where

pytestmark = pytest.mark.needs_kvm

CODE = 0x7C00
NO_REGISTERS = {"execute": False}  # as in the machine that QEMU emulates
REGISTERS_OR_NONE = pytest.mark.parametrize("able", [None, NO_REGISTERS], ids=["", "port-trap"])
NOPS = b"\x90" * 8 + exit_with(3)
PANICS = b"\xba\x05\x05\xb0\x01\xee" + SPIN  # mov dx, 0x505; mov al, 1; out dx, al
# mov word [6 * 4], HANDLER; mov word [6 * 4 + 2], 0; ud2; the handler: nop; nop; exit
HANDLER = CODE + 14
UD2_WITH_HANDLER = (
    b"\xc7\x06\x18\x00" + HANDLER.to_bytes(2, "little") + b"\xc7\x06\x1a\x00\x00\x00" + b"\x0f\x0b"
    + b"\x90\x90" + exit_with(6)
)  # fmt: skip


def test_a_guest_starts_stopped_and_goes_on_to_its_end(no_leak: None) -> None:
    with debugged("hello") as debugger:
        assert where(debugger, wait(debugger)) == "start pvh_start"
        stop = go(debugger)
        assert (stop.reason, stop.detail) == ("end", "exit-port")
        assert debugger.machine.wait().status == 0  # type: ignore[union-attr]


def test_steps_go_from_instruction_to_instruction() -> None:
    with debugged(NOPS) as debugger:
        for number in range(1, 9):
            stop = step(debugger)
            assert (stop.reason, stop.address) == ("step", CODE + number)
        assert step(debugger).address == CODE + 10  # mov al, 3
        assert debugger.registers().rax & 0xFF == 3
        assert step(debugger).reason == "end"


def test_a_step_over_an_access_ends_behind_it_once_the_device_has_answered() -> None:
    class Device:
        def read(self, offset: int, size: int) -> int:
            return 0x5A

        def write(self, offset: int, size: int, value: int) -> None:
            raise AssertionError

    made = machine(MOV_DX_PORT + IN_AL_DX + IN_AL_DX + EXIT)
    made.add_port_device(PORT, 1, Device())
    with made, debug(made) as debugger:
        made.start()
        wait(debugger)
        assert step(debugger).address == CODE + 3
        assert step(debugger).address == CODE + 4
        assert debugger.registers().rax & 0xFF == 0x5A
        assert step(debugger).address == CODE + 5


@REGISTERS_OR_NONE
def test_a_step_of_an_instruction_at_fault_ends_at_the_handler(able: dict[str, bool]) -> None:
    with debugged(UD2_WITH_HANDLER, able=able) as debugger:
        step(debugger)
        assert step(debugger).address == CODE + 12
        assert step(debugger).address == HANDLER
        flags = debugger.read(debugger.registers().rsp + 4, 2)
        assert not flags[1] & 1, "the trap flag is no business of the guest's"
        assert step(debugger).address == HANDLER + 1
        assert go(debugger).reason == "end"
        assert debugger.machine.memory.read(HANDLER, 2) == b"\x90\x90"


def test_pushf_doesnt_show_the_trap_flag() -> None:
    with debugged(b"\x9c\x58" + exit_with(0)) as debugger:  # pushf; pop ax
        step(debugger)
        step(debugger)
        assert debugger.registers().rax & 0x100 == 0


def test_a_guest_that_steps_itself_gets_its_own_exceptions() -> None:
    # mov word [1 * 4], HANDLER; mov word [1 * 4 + 2], 0; push 0x102; popf; nop; nop; mov al, cl
    code = (
        b"\xc7\x06\x04\x00\x40\x7c\xc7\x06\x06\x00\x00\x00\x68\x02\x01\x9d\x90\x90\x88\xc8" + EXIT
    )
    handler = b"\x41\xcf"  # inc cx; iret
    with debugged(code.ljust(0x40, b"\x90") + handler) as debugger:
        debugger.add_breakpoint(CODE + 0x20, hardware=True)  # never met
        stop = go(debugger)
        assert (stop.reason, stop.detail) == ("end", "exit-port")
        # One after each nop; the third comes after CX was read.
        assert debugger.machine.wait().status == 2  # type: ignore[union-attr]


def test_the_next_exit_comes_with_the_devices_answer() -> None:
    with debugged("hello") as debugger:
        found = []
        for _ in range(4):
            debugger.next_exit()
            stop = wait(debugger)
            assert stop.reason == "exit"
            found.append((stop.exit, stop.reply))
        assert found[0] == (PortWrite(0x3FA, 1, 1), 0)
        assert found[1] == (PortRead(0x3FD, 1), 0x60)
        assert found[2][0] == PortWrite(0x3F8, 1, ord("H"))


def test_one_vcpu_steps_while_the_others_run() -> None:
    with debugged("smp", cpus=2) as debugger:
        debugger.add_breakpoint("processor_main")
        assert go(debugger).vcpu == 1
        debugger.remove_breakpoint("processor_main")
        started = debugger.address_of("started")
        for _ in range(10):  # vCPU 0 waits for vCPU 1, which stands still
            assert step(debugger, 0).reason == "step"
        assert debugger.read(started, 1) == b"\1"
        for _ in range(5000):
            debugger.step(0, alone=False)
            assert wait(debugger).reason == "step"
            if debugger.read(started, 1) == b"\2":
                break
        else:
            raise AssertionError("vCPU 1 never ran")
        assert go(debugger).reason == "end"


def test_a_vcpu_that_waits_for_its_start_can_be_looked_at() -> None:
    with debugged("smp", cpus=2) as debugger:
        assert debugger.vcpu(1).mp_state == 1  # uninitialized
        assert debugger.registers(1).rip == 0xFFF0
        with pytest.raises(RingletError, match="no vCPU 2"):
            debugger.registers(2)


def test_a_running_guest_is_stopped_from_another_thread_and_goes_on() -> None:
    with debugged(SPIN) as debugger:
        debugger.continue_()
        assert debugger.wait(0.2) is None
        with pytest.raises(RingletError, match="the guest runs"):
            debugger.registers()
        threading.Timer(0.05, debugger.stop).start()
        stop = wait(debugger)
        assert (stop.reason, stop.address) == ("interrupt", CODE)
        for _ in range(50):
            debugger.continue_()
            debugger.stop()
            assert wait(debugger).reason == "interrupt"


def test_a_halted_guest_is_stopped() -> None:
    with debugged(b"\xfb\xf4\xeb\xfd") as debugger:  # sti; hlt; jmp
        debugger.continue_()
        assert debugger.wait(0.3) is None
        debugger.stop()
        stop = wait(debugger)
        assert (stop.reason, stop.address) == ("interrupt", CODE + 2)


def test_a_step_over_hlt_ends_behind_it() -> None:
    with debugged(b"\xfb\xf4\xeb\xfd") as debugger:  # sti; hlt; jmp
        assert step(debugger).address == CODE + 1
        stop = step(debugger)
        assert (stop.reason, stop.address) == ("step", CODE + 2)


def test_a_stop_waits_for_a_device_and_shows_the_access_complete() -> None:
    entered, leave = threading.Event(), threading.Event()

    class Slow:
        def read(self, offset: int, size: int) -> int:
            entered.set()
            leave.wait(PATIENCE)
            return 0x77

        def write(self, offset: int, size: int, value: int) -> None:
            raise AssertionError

    made = machine(MOV_DX_PORT + IN_AL_DX + SPIN)
    made.add_port_device(PORT, 1, Slow())
    with made, debug(made) as debugger:
        made.start()
        wait(debugger)
        debugger.continue_()
        assert entered.wait(PATIENCE)
        debugger.stop()
        assert debugger.wait(0.1) is None
        leave.set()
        stop = wait(debugger)
        assert (stop.reason, stop.address) == ("interrupt", CODE + 4)
        assert debugger.registers().rax & 0xFF == 0x77


def test_registers_and_memory_are_set() -> None:
    with debugged(NOPS) as debugger:
        debugger.write(CODE, b"\x43")  # inc bx
        debugger.set_registers(debugger.registers()._replace(rbx=41))
        step(debugger)
        assert debugger.registers().rbx == 42
        special = debugger.special_registers()
        debugger.set_special_registers(special._replace(cr2=0x1234))
        assert debugger.special_registers().cr2 == 0x1234
        debugger.write_physical(0x500, b"abc")
        assert debugger.read(0x500, 3) == debugger.read_physical(0x500, 3) == b"abc"


def test_memory_ends_where_it_ends() -> None:
    with debugged("hello", memory=4 << 20) as debugger:
        end = 4 << 20
        assert debugger.read(end - 2, 8) == b"\0\0"
        assert debugger.read(end, 8) == b""
        before = debugger.read(end - 4, 4)
        with pytest.raises(RingletError, match="no RAM"):
            debugger.write(end - 4, b"12345678")
        assert debugger.read(end - 4, 4) == before
        with pytest.raises(GuestMemoryError):
            debugger.read_physical(end, 1)
        for refused in (0xFEE0_0000, end):
            with pytest.raises(RingletError, match="no RAM"):
                debugger.add_breakpoint(refused)


def test_memory_that_isnt_mapped() -> None:
    with debugged("longmode") as debugger:
        unmapped = 1 << 40
        assert debugger.read(unmapped, 4) == b""
        for refused in (
            lambda: debugger.write(unmapped, b"x"),
            lambda: debugger.add_breakpoint(unmapped),
        ):
            with pytest.raises(RingletError, match="no page is mapped at 0x10000000000"):
                refused()
        debugger.add_breakpoint(unmapped, hardware=True)  # that waits


def test_a_symbol_that_there_isnt() -> None:
    with debugged("rings") as debugger:
        with pytest.raises(RingletError, match="there is no symbol 'mian'") as caught:
            debugger.add_breakpoint("mian")
        assert "main" in caught.value.hint


def test_a_crash_stops_before_the_end_with_its_registers() -> None:
    with debugged("crash") as debugger:
        stop = go(debugger)
        assert (stop.reason, stop.detail) == ("crash", "triple fault")
        assert debugger.registers().rip
        assert go(debugger).detail == "triple-fault"
        result = debugger.machine.wait()
        assert result is not None
        assert result.crash is not None


@pytest.mark.parametrize("guest", ["crash", PANICS], ids=["triple-fault", "panic"])
def test_a_crash_that_nobody_waits_for_is_the_end(guest: str | bytes) -> None:
    with debugged(guest) as debugger:
        debugger.detach()
        assert wait(debugger).reason == "end"
    made = machine(PANICS)
    with made, Debugger(made, running=True) as debugger:
        made.start()
        assert wait(debugger).reason == "end"


def test_a_panic_stops_before_the_end() -> None:
    with debugged(PANICS) as debugger:
        stop = go(debugger)
        assert (stop.reason, stop.detail) == ("crash", "the guest's kernel panicked")
        assert debugger.registers().rax & 0xFF == 1
        assert go(debugger).detail == "panic"


def test_kill_ends_a_guest_that_stands_still(no_leak: None) -> None:
    with debugged(SPIN) as debugger:
        debugger.kill()
        assert debugger.machine.wait(PATIENCE).reason == "killed"  # type: ignore[union-attr]
        assert wait(debugger).reason == "end"
        with pytest.raises(RingletError, match="the run is over"):
            debugger.registers()
        with pytest.raises(RingletError):
            debugger.continue_()


@pytest.mark.parametrize("stands", [True, False])
def test_detach_removes_breakpoints_and_lets_the_guest_run(stands: bool) -> None:
    with debugged(b"\x89\xc0" * 8 + SPIN) as debugger:
        debugger.add_breakpoint(CODE + 16)
        if stands:
            assert go(debugger).reason == "breakpoint"
        else:
            debugger.remove_breakpoint(CODE + 16)
            debugger.continue_()
        debugger.detach()
        assert debugger.wait(0.2) is None
        debugger.stop()
        assert wait(debugger).address == CODE + 16


def test_the_timeout_counts_the_time_that_the_guest_runs() -> None:
    with debugged(SPIN, timeout=0.6) as debugger:
        time.sleep(0.9)
        assert debugger.stopped is not None
        start = time.monotonic()
        stop = go(debugger)
        assert (stop.reason, stop.detail) == ("end", "timeout")
        assert time.monotonic() - start > 0.5


def test_a_machine_pauses_while_its_guest_stands_still() -> None:
    with debugged(SPIN) as debugger:
        debugger.machine.pause()
        debugger.continue_()
        assert debugger.wait(0.1) is None
        debugger.machine.resume()
        debugger.stop()
        assert wait(debugger).reason == "interrupt"


def test_a_debugger_comes_before_the_start() -> None:
    with machine(SPIN) as made:
        made.start()
        with pytest.raises(RingletError, match="has started already"):
            debug(made)


def test_a_debugger_that_is_never_used_leaves_nothing_behind(no_leak: None) -> None:
    with machine(exit_with(5)) as made:
        with debug(made):
            pass
        assert made.run().status == 5


def test_a_guest_may_start_running() -> None:
    made = machine(SPIN)
    with made, Debugger(made, running=True) as debugger:
        made.start()
        assert debugger.wait(0.2) is None
        debugger.stop()
        assert wait(debugger).reason == "interrupt"


def test_stepping_shows_each_change_of_ring() -> None:
    with debugged("rings") as debugger:
        debugger.add_breakpoint("ring_3_enter")
        go(debugger)
        debugger.remove_breakpoint("ring_3_enter")
        rings, entered = [0], 0
        unseen = False
        while (stop := step(debugger)).reason == "step":
            ring = debugger.special_registers().ss.dpl
            if stop.detail:  # this KVM can't step in ring 3, and says so
                unseen = True
                rings += [3, 0]
            elif ring != rings[-1]:
                rings.append(ring)
            entered += debugger.symbols.describe(stop.address) == "system_call"
        assert entered == 3
        # To ring 3, and back by two calls, two faults and the exit.
        assert rings == [0, *[3, 0] * 5]
        assert unseen == (not debugger.abilities.step_ring_3)


def test_a_machine_without_symbols_takes_addresses() -> None:
    with debugged(NOPS) as debugger:
        with pytest.raises(RingletError, match="no symbol"):
            debugger.add_breakpoint("main")
        assert MachineConfig(image=b"x").image == b"x"
        assert debugger.add_breakpoint(CODE + 4) == CODE + 4
        assert go(debugger).address == CODE + 4
