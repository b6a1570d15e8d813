"""Getting a vCPU out of the guest, whatever it does."""

import re
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

import pytest

from ringlet.kvm.exits import Halt, Interrupted, PortRead, PortWrite
from ringlet.kvm.registers import Registers
from ringlet.kvm.vcpu import MP_HALTED, MP_UNINITIALIZED

from .background import Background, until
from .guest import CODE, LOOP, real_mode

pytestmark = pytest.mark.needs_kvm

COUNTER = 0x3000
COUNT = b"\xff\x06\x00\x30\xeb\xfa"  # l: inc word [0x3000]; jmp l
MARK_AND_HALT = b"\xc6\x06\x00\x30\x01\xf4"  # mov byte [0x3000], 1; hlt
HALT = b"\xf4"


def test_a_kick_from_another_thread_ends_a_run() -> None:
    with real_mode(COUNT) as guest:
        for _ in range(3):
            guest.memory.write(COUNTER, bytes(2))
            with Background(guest.vcpu) as run:
                until(lambda: guest.memory.read(COUNTER, 2) != bytes(2))
                guest.vcpu.kick()
                assert run.exit == Interrupted()
        assert guest.vcpu.exits == {"interrupted": 3}


@pytest.mark.parametrize("rflags", [2, 2 | 1 << 9], ids=["interrupts-off", "interrupts-on"])
def test_a_kick_ends_the_sleep_of_a_halted_guest(rflags: int) -> None:
    with real_mode(MARK_AND_HALT, Registers(rflags=rflags), irqchip=True) as guest:
        with Background(guest.vcpu) as run:
            until(lambda: guest.memory.read(COUNTER, 1) == b"\x01")
            run.until_asleep()
            guest.vcpu.kick()
            assert run.exit == Interrupted()
        assert guest.vcpu.mp_state == MP_HALTED


def test_a_kick_reaches_a_vcpu_that_waits_to_be_started() -> None:
    with real_mode(HALT, irqchip=True) as guest:
        second = guest.vm.create_vcpu()
        with Background(second) as run:
            run.until_asleep()
            second.kick()
            assert run.exit == Interrupted()
        assert second.mp_state == MP_UNINITIALIZED


def test_a_kick_before_the_run_is_not_lost() -> None:
    with real_mode(LOOP) as guest:
        guest.vcpu.kick()
        assert guest.vcpu.run() == Interrupted()


def test_kicks_before_the_run_are_one() -> None:
    with real_mode(HALT) as guest:
        for _ in range(3):
            guest.vcpu.kick()
        assert guest.vcpu.run() == Interrupted()
        assert guest.vcpu.run() == Halt()


def test_kicks_that_wait_queue_one_signal() -> None:
    def queued() -> int:
        (line,) = re.findall(r"SigQ:\s+(\d+)/", Path("/proc/self/status").read_text())
        return int(line)

    with real_mode(HALT) as guest:
        guest.vcpu.run()
        guest.enter_at(CODE)
        before = queued()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            for _ in range(1000):
                guest.vcpu.kick()
            # The limit is the user's, so other processes of this user count, too.
            assert queued() - before < 500
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        assert guest.vcpu.run() == Interrupted()
        assert guest.vcpu.run() == Halt()


def test_a_kick_between_a_read_and_its_reply_loses_neither() -> None:
    # in al, dx; out dx, al
    with real_mode(b"\xec\xee" + HALT, Registers(rdx=0x60)) as guest:
        assert guest.vcpu.run() == PortRead(0x60, 1)
        guest.vcpu.kick()
        assert guest.vcpu.run(0x5A) == Interrupted()
        assert guest.vcpu.registers.rax & 0xFF == 0x5A
        assert guest.vcpu.run() == PortWrite(0x60, 1, 0x5A)


def test_a_vcpu_can_be_kicked_on_each_thread_that_runs_it_in_turn() -> None:
    # out dx, al; then count
    with real_mode(b"\xee" + COUNT) as guest:
        stay = Event()
        first = Thread(target=lambda: (guest.vcpu.run(), stay.wait()), daemon=True)
        first.start()
        until(lambda: guest.vcpu.exits == {"port": 1})
        for _ in range(2):  # while the first thread lives, and afterwards
            guest.memory.write(COUNTER, bytes(2))
            with Background(guest.vcpu) as run:
                until(lambda: guest.memory.read(COUNTER, 2) != bytes(2))
                guest.vcpu.kick()
                assert run.exit == Interrupted()
            stay.set()
            first.join()


def test_a_kick_reaches_a_thread_that_blocks_all_signals() -> None:
    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    with real_mode(COUNT) as guest, Background(guest.vcpu, prepare=block) as run:
        until(lambda: guest.memory.read(COUNTER, 2) != bytes(2))
        guest.vcpu.kick()
        assert run.exit == Interrupted()


def test_a_kick_of_one_vcpu_leaves_another_alone() -> None:
    with real_mode(COUNT) as one, real_mode(COUNT) as other:
        with Background(one.vcpu) as run, Background(other.vcpu) as other_run:
            until(lambda: one.memory.read(COUNTER, 2) != bytes(2))
            until(lambda: other.memory.read(COUNTER, 2) != bytes(2))
            one.vcpu.kick()
            assert run.exit == Interrupted()
            before = other.memory.read(COUNTER, 2)
            until(lambda: other.memory.read(COUNTER, 2) != before)
            other.vcpu.kick()
            assert other_run.exit == Interrupted()
        assert other.vcpu.exits == {"interrupted": 1}


def test_a_kick_after_close_does_nothing() -> None:
    with real_mode(HALT) as guest:
        guest.vcpu.run()
    guest.vcpu.kick()


def test_kicks_during_close_are_harmless() -> None:
    for _ in range(20):
        with real_mode(HALT) as guest:
            stop = Event()

            def kick(vcpu=guest.vcpu, stop=stop) -> None:  # type: ignore[no-untyped-def]
                while not stop.is_set():
                    vcpu.kick()

            thread = Thread(target=kick, daemon=True)
            thread.start()
            guest.vcpu.run()
        stop.set()
        thread.join()


def test_a_tick_ends_a_run_again_and_again() -> None:
    with real_mode(COUNT) as guest:
        guest.vcpu.tick(0.005)
        for _ in range(3):
            assert guest.vcpu.run() == Interrupted()
        guest.vcpu.tick(0)
        guest.memory.write(COUNTER, bytes(2))
        with Background(guest.vcpu) as run:
            until(lambda: guest.memory.read(COUNTER, 2) != bytes(2))
            guest.vcpu.kick()
            assert run.exit == Interrupted()


def test_a_tick_is_over_once_it_is_set_to_zero() -> None:
    # mov cx, 0xffff; l: loop l; hlt: some 30 ms where the emulator runs it
    with real_mode(b"\xb9\xff\xff\xe2\xfe" + HALT) as guest:
        guest.vcpu.tick(0.001)
        guest.vcpu.tick(0)
        assert guest.vcpu.run() == Halt()


def test_a_tick_of_a_closed_vcpu_interrupts_nobody() -> None:
    with real_mode(HALT) as guest:
        guest.vcpu.tick(0.001)
    with real_mode(b"\xb9\xff\xff\xe2\xfe" + HALT) as guest:
        assert guest.vcpu.run() == Halt()


def test_a_signal_of_the_programs_own_ends_the_run_and_is_handled() -> None:
    numbers = []
    before = signal.signal(signal.SIGPROF, lambda number, frame: numbers.append(number))
    try:
        with real_mode(COUNT) as guest:
            signal.setitimer(signal.ITIMER_PROF, 0.01)
            assert guest.vcpu.run() == Interrupted()
            assert numbers == [signal.SIGPROF]
            guest.vcpu.kick()
            assert guest.vcpu.run() == Interrupted()
    finally:
        signal.signal(signal.SIGPROF, before)


# In a process of its own: what is done once for a process.


def run_script(script: str) -> str:
    head = (
        f"import os, signal, sys, threading\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    )
    command = [sys.executable, "-X", "faulthandler", "-c", head + script]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


KICK_ONCE = """
from guest import LOOP, real_mode
def kick_once():
    with real_mode(LOOP) as guest:
        timer = threading.Timer(0.02, guest.vcpu.kick)
        timer.start()
        name = type(guest.vcpu.run()).__name__
        timer.join()
        return name
"""


def test_a_programs_real_time_signals_stay_its_own() -> None:
    out = run_script(
        KICK_ONCE
        + """
taken = [signal.SIGRTMAX, signal.SIGRTMAX - 2]
seen = []
for number in taken:
    signal.signal(number, lambda number, frame: seen.append(number))
signal.signal(signal.SIGRTMAX - 1, signal.SIG_IGN)
print(kick_once())
for number in [*taken, signal.SIGRTMAX - 1]:
    signal.raise_signal(number)
print(seen == taken)
"""
    )
    assert out.split() == ["Interrupted", "True"]


def test_no_free_real_time_signal_is_an_error_that_says_so() -> None:
    out = run_script(
        """
from guest import LOOP, real_mode
from ringlet.kvm.core import KvmError
for number in range(signal.SIGRTMIN, signal.SIGRTMAX + 1):
    signal.signal(number, lambda number, frame: None)
try:
    with real_mode(LOOP):
        pass
except KvmError as error:
    print(error.errno)
"""
    )
    assert out.split() == ["16"]  # EBUSY


def test_after_a_fork_the_child_can_kick_a_vm_of_its_own_and_so_can_the_parent() -> None:
    out = run_script(
        KICK_ONCE
        + """
print(kick_once(), flush=True)
child = os.fork()
if child == 0:
    print(kick_once(), flush=True)
    os._exit(0)
status = os.waitpid(child, 0)[1]
print(kick_once(), status)
"""
    )
    assert out.split() == ["Interrupted"] * 3 + ["0"]
