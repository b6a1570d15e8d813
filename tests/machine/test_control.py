import os
import select
import signal
from collections.abc import Iterator
from threading import Thread

import pytest

from ringlet.errors import RingletError
from ringlet.kvm.exits import Interrupted
from ringlet.kvm.system import System
from ringlet.kvm.vm import Vm
from ringlet.machine import control as control_module
from ringlet.machine.control import HALT, KILLED, QUIT, STOPPED, End, RunControl


@pytest.fixture
def control() -> Iterator[RunControl]:
    control = RunControl()
    yield control
    control.close()


def readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def test_a_run_that_goes_on_has_no_end(control: RunControl) -> None:
    assert control.end is None
    assert control.error is None
    assert not readable(control.stop_fd)
    assert not readable(control.ended_fd)
    assert control.wait(0) is False


def test_the_first_end_counts(control: RunControl) -> None:
    control.finish(End("exit-port", 7))
    control.finish(QUIT)
    control.fail(RuntimeError())
    assert control.end == End("exit-port", 7)


def test_of_many_threads_one_decides(control: RunControl) -> None:
    ends = [End("exit-port", i) for i in range(16)]
    threads = [Thread(target=control.finish, args=[end]) for end in ends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert control.end in ends
    assert control.end is control.end


def test_an_end_wakes_who_waits_for_the_host_but_is_not_over_yet(control: RunControl) -> None:
    control.finish(HALT)
    assert readable(control.stop_fd)
    assert not readable(control.ended_fd)
    assert control.wait(0) is False
    control.set_ended()
    assert readable(control.ended_fd)
    assert control.wait(0) is True
    assert control.wait() is True


def test_a_thread_that_waits_is_told_of_the_end(control: RunControl) -> None:
    told = []
    thread = Thread(target=lambda: told.append(control.wait()))
    thread.start()
    control.finish(HALT)
    control.set_ended()
    thread.join()
    assert told == [True]


def test_the_first_error_is_kept(control: RunControl) -> None:
    first = RingletError("first", "hint")
    control.fail(first)
    control.fail(RuntimeError("second"))
    assert control.error is first
    assert control.end == End("error", 125)


def test_a_signal_handler_may_end_the_run(control: RunControl) -> None:
    before = signal.signal(signal.SIGUSR1, lambda number, frame: control.finish(STOPPED))
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert control.end == STOPPED


def test_after_close_finish_does_nothing(no_leak: None) -> None:
    control = RunControl()
    numbers = control.stop_fd, control.ended_fd
    control.close()
    # The numbers are others' by now.
    others = [os.eventfd(0, os.EFD_NONBLOCK) for _ in numbers]
    control.finish(KILLED)
    for other in others:
        assert not readable(other)
        os.close(other)
    assert control.end is None


@pytest.mark.needs_kvm
def test_an_end_kicks_every_vcpu_that_is_attached(control: RunControl) -> None:
    with System() as system, Vm(system) as vm:
        vm.create_irqchip()
        vcpus = [vm.create_vcpu() for _ in range(2)]
        for vcpu in vcpus:
            control.attach(vcpu)
        control.finish(STOPPED)
        assert [vcpu.run() for vcpu in vcpus] == [Interrupted()] * 2
    control.finish(KILLED)  # they are closed


def test_every_ends_status_is_the_one_that_the_shell_knows() -> None:
    statuses = {
        end.reason: end.status for end in vars(control_module).values() if isinstance(end, End)
    }
    assert statuses == {
        "halt": 0,
        "power-off": 0,
        "reset": 0,
        "panic": 70,
        "triple-fault": 70,
        "internal-error": 70,
        "fail-entry": 70,
        "timeout": 124,
        "error": 125,
        "quit": 128 + signal.SIGINT,
        "killed": 128 + signal.SIGKILL,
        "output-closed": 128 + signal.SIGPIPE,
        "stopped": 128 + signal.SIGTERM,
    }
