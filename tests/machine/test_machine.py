"""A machine from its configuration to its end, under the real KVM."""

import asyncio
import fcntl
import io
import os
import select
import sys
import termios
import threading
from pathlib import Path
from typing import Any

import pytest

from ringlet import ConfigError, Machine, MachineConfig, RingletError

from ..machine_code import (
    FLOOD,
    HALT,
    HALT_WITH_INTERRUPTS,
    READ_FOR_EVER,
    RESET,
    SPIN,
    UD2,
    exit_with,
    machine,
    protected,
    run,
)

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]

PIPE_SIZE = 65536
NEVER = 30  # seconds: a run that hasn't ended by then hangs


# How a run ends.


@pytest.mark.parametrize("status", [0, 1, 42, 70, 125, 128, 255])
def test_the_guests_status_is_the_runs(status: int) -> None:
    result = run(exit_with(status))
    assert (result.reason, result.status) == ("exit-port", status)


def test_a_halt_with_interrupts_off_is_the_end() -> None:
    result = run(HALT)
    assert (result.reason, result.status) == ("halt", 0)


def test_a_halt_with_interrupts_on_is_not_the_end() -> None:
    result = run(HALT_WITH_INTERRUPTS, timeout=0.5)
    assert (result.reason, result.status) == ("timeout", 124)


def test_the_keyboard_controllers_reset_is_the_end() -> None:
    result = run(RESET)
    assert (result.reason, result.status) == ("reset", 0)


def test_a_timeout_is_the_end_whatever_the_guest_does() -> None:
    result = run(SPIN, timeout=0.2)
    assert (result.reason, result.status) == ("timeout", 124)


def test_a_triple_fault_is_a_crash_and_tells_registers_and_instruction() -> None:
    mov_eax = b"\xb8\x78\x56\x34\x12"
    result = run(protected(mov_eax + UD2), protocol=None)
    assert (result.reason, result.status) == ("triple-fault", 70)
    assert result.crash is not None
    assert result.crash.instruction == "ud2"
    assert result.crash.linear_rip == 0x100000 + len(mov_eax)
    assert result.crash.registers.rax == 0x12345678


def test_a_jump_out_of_memory_is_a_crash_whose_code_cannot_be_read() -> None:
    jump_to_d0000000 = b"\xb8\x00\x00\x00\xd0\xff\xe0"  # mov eax, 0xd0000000; jmp eax
    result = run(protected(jump_to_d0000000), protocol=None)
    assert (result.reason, result.status) == ("internal-error", 70)
    assert result.crash is not None
    assert result.crash.linear_rip == 0xD0000000
    assert "not readable" in "\n".join(result.crash.lines())


def test_exits_are_counted_by_kind() -> None:
    assert run(exit_with(0)).exits["port"] == 1


def test_timings_are_in_order() -> None:
    with Machine(MachineConfig(image="hello", serial="none", timeout=NEVER)) as made:
        made.run()
        timings = made.timings
        steps = [
            timings.vm_created,
            timings.image_loaded,
            timings.first_exit,
            timings.first_output,
            timings.end,
        ]
    assert None not in steps
    assert steps == sorted(steps)  # type: ignore[type-var]


def test_a_step_that_never_came_has_no_time() -> None:
    with machine(SPIN, timeout=0.1) as made:
        made.run()
        assert made.timings.first_output is None
        assert made.timings.first_exit is None
        assert made.timings.end is not None


# Control from outside.


def test_wait_returns_none_until_the_end_and_then_the_result() -> None:
    with machine(SPIN) as made:
        made.start()
        assert made.wait(0.05) is None
        made.kill()
        result = made.wait(NEVER)
        assert result is not None
        assert (result.reason, result.status) == ("killed", 137)
        assert made.wait() == result == made.result


@pytest.mark.parametrize(
    "code",
    [SPIN, HALT_WITH_INTERRUPTS, READ_FOR_EVER, FLOOD],
    ids=["spin", "halt", "read", "flood"],
)
def test_stop_ends_a_run_whatever_the_guest_does(code: bytes) -> None:
    with machine(code) as made:
        made.start()
        result = made.stop(NEVER)
    assert (result.reason, result.status) == ("stopped", 143)


def test_stop_ends_a_run_whose_output_nobody_reads() -> None:
    with machine(FLOOD, serial="pipe", timeout=None) as made:
        made.start()
        wait_until_full(made.serial.fileno())
        result = made.stop(NEVER)
        assert result.reason == "stopped"
        received = b""
        while data := made.serial.read():
            received += data
        assert received == b"x" * PIPE_SIZE


def wait_until_full(fd: int) -> None:
    for _ in range(1000):
        if int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder) == PIPE_SIZE:
            return
        select.select([], [], [], 0.02)
    pytest.fail("the pipe never filled")


def test_the_first_end_counts() -> None:
    with machine(SPIN) as made:
        made.start()
        made.kill()
        result = made.stop(NEVER)
    assert result.reason == "killed"


def test_a_stop_before_the_run_is_not_lost() -> None:
    with machine(SPIN, timeout=None) as made:
        made.kill()
        assert made.run().reason == "killed"


def test_control_after_the_end_and_after_close_does_nothing() -> None:
    with machine(exit_with(3)) as made:
        result = made.run()
        made.kill()
        assert made.stop() == result
    made.kill()
    made.close()
    assert made.stop() == result


def test_a_machine_runs_once() -> None:
    with machine(exit_with(0)) as made:
        made.run()
        with pytest.raises(RingletError, match="run already"):
            made.run()
        with pytest.raises(RingletError, match="run already"):
            made.start()


def test_a_closed_machine_does_not_run() -> None:
    made = machine(exit_with(0))
    made.close()
    with pytest.raises(RingletError):
        made.run()


def test_waiting_for_a_machine_that_was_never_started_is_refused() -> None:
    with machine(SPIN) as made, pytest.raises(RingletError, match="never started"):
        made.wait()


def test_fileno_polls_as_readable_once_the_run_has_ended() -> None:
    poll = select.poll()
    with machine(SPIN) as made:
        poll.register(made, select.POLLIN)
        made.start()
        assert poll.poll(50) == []
        made.kill()
        assert [fd for fd, _ in poll.poll(NEVER * 1000)] == [made.fileno()]


def test_asyncio_can_wait_for_several_machines() -> None:
    async def ends(made: Machine) -> str:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(made.fileno(), ended.set)
        made.start()
        await ended.wait()
        loop.remove_reader(made.fileno())
        result = made.wait(0)
        assert result is not None
        return result.reason

    async def both() -> tuple[str, str]:
        with machine(SPIN, timeout=0.2) as first, machine(exit_with(0)) as second:
            first_end, second_end = await asyncio.gather(ends(first), ends(second))
            return first_end, second_end

    assert asyncio.run(both()) == ("timeout", "exit-port")


def test_two_machines_run_at_once_in_one_process() -> None:
    config = MachineConfig(image="echo", timeout=NEVER)
    with Machine(config) as first, Machine(config) as second:
        for made in (first, second):
            made.start()
            made.serial.read_until(b"ends.\n")
        for made, text in ((first, b"one\n"), (second, b"two\n"), (first, b"three\n")):
            made.serial.write(text)
            assert made.serial.read_until(b"\n") == text
        first.kill()
        first.wait()
        second.serial.write(b"alive\n")
        assert second.serial.read_until(b"\n") == b"alive\n"


def test_a_run_on_another_thread_is_ended_by_close() -> None:
    made = machine(READ_FOR_EVER, timeout=None)
    thread = threading.Thread(target=made.run)
    thread.start()
    while made.timings.first_exit is None:
        select.select([], [], [], 0.001)
    made.close()
    thread.join(NEVER)
    assert not thread.is_alive()


# The serial line.


def hello(serial: Any, **options: Any) -> None:
    config = MachineConfig(image="hello", serial=serial, timeout=NEVER)
    with Machine(config, **options) as made:
        assert made.run().reason == "exit-port"


def test_serial_goes_both_ways_through_pipes() -> None:
    with Machine(MachineConfig(image="echo", timeout=NEVER)) as made:
        made.start()
        assert made.serial.read_until(b"\n") == b"Type; Ctrl-D ends.\n"
        for text in (b"a\n", b"\0\xff\r\n", b"x" * 1000 + b"\n"):
            made.serial.write(text)
            assert made.serial.read_until(b"\n") == text
        made.serial.write(b"\x04")
        assert made.serial.read() == b""


def test_serial_to_an_object() -> None:
    output = io.BytesIO()
    hello(output)
    assert output.getvalue() == b"Hello, ring 0!\n"


@pytest.mark.parametrize("kind", [str, Path])
def test_serial_to_a_file_which_is_emptied_first(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "output"
    path.write_bytes(b"old" * 100)
    hello(kind(path))
    assert path.read_bytes() == b"Hello, ring 0!\n"


def test_serial_to_descriptors_of_the_callers_which_stay_open() -> None:
    reader, writer = os.pipe()
    other_reader, other_writer = os.pipe()
    hello((other_reader, writer))
    assert os.read(reader, 100) == b"Hello, ring 0!\n"
    for fd in (reader, writer, other_reader, other_writer):
        os.close(fd)


def test_serial_of_stdio_writes_to_the_descriptor_given(tmp_path: Path) -> None:
    with open(tmp_path / "output", "wb") as file:
        hello("stdio", output_fd=file.fileno())
    assert (tmp_path / "output").read_bytes() == b"Hello, ring 0!\n"


def test_serial_to_nobody() -> None:
    hello("none")


def test_serial_at_a_pseudo_terminal() -> None:
    with Machine(MachineConfig(image="echo", serial="pty", timeout=NEVER)) as made:
        assert made.pty is not None
        terminal = os.open(made.pty, os.O_RDWR | os.O_NOCTTY)
        made.start()
        with os.fdopen(terminal, "r+b", buffering=0) as file:
            assert file.readline() == b"Type; Ctrl-D ends.\n"
            file.write(b"\x03 and \r\n")
            assert file.readline() == b"\x03 and \r\n"
            file.write(b"\x04")
            result = made.wait(NEVER)
    assert result is not None
    assert result.reason == "exit-port"


def test_only_a_serial_of_pipe_has_an_end_here() -> None:
    with machine(SPIN, serial="none") as made:
        assert made.pty is None
        with pytest.raises(ConfigError, match="not here"):
            _ = made.serial


def test_a_reader_that_goes_ends_the_run() -> None:
    reader, writer = os.pipe()
    nothing = os.open(os.devnull, os.O_RDONLY)
    with machine(FLOOD, serial=(nothing, writer)) as made:
        made.start()
        assert os.read(reader, 1) == b"x"
        os.close(reader)
        result = made.wait(NEVER)
        assert result is not None
        assert (result.reason, result.status) == ("output-closed", 141)
        os.close(writer)
        os.close(nothing)


def test_what_a_serial_object_raises_comes_out_of_run() -> None:
    class Full:
        def write(self, data: bytes) -> None:
            raise OSError(28, "no space")

    with machine(FLOOD, serial=Full()) as made, pytest.raises(OSError, match="no space"):
        made.run()
