"""The ports of a command, driven as a guest does; tests/nested/test_exec.py has a real guest."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ringlet.errors import RingletError
from ringlet.linux.command_ports import CommandPorts
from ringlet.machine.control import OUTPUT_CLOSED, End, RunControl
from ringlet.virtio.console import MESSAGE, PORT_OPEN, VIRTIO_CONSOLE_F_MULTIPORT
from ringlet.virtio.device import TRANSPORT_FEATURES

from ..until import until
from ..virtio.driver import WRITE, Queue
from ..virtio.rig import Rig, rig

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("no_leak")

CONTROL, STDIN, STDOUT, STDERR = range(4)
BUFFER = 0x4_0000


class Guest:
    """Init's side of the ports."""

    def __init__(self, made: Rig) -> None:
        self.made = made
        made.start(TRANSPORT_FEATURES | VIRTIO_CONSOLE_F_MULTIPORT)
        for port in range(4):
            self._request(3, MESSAGE.pack(port, PORT_OPEN, 1))

    def _request(self, queue: int, data: bytes) -> None:
        self.made.memory.write(BUFFER, data)
        self.made.queues[queue].request([(BUFFER, len(data), 0)])

    def write(self, port: int, data: bytes) -> None:
        self._request(2 * port + 3 if port else 1, data)

    def read(self, port: int) -> bytes:
        """The next bytes from the host, at most 64."""
        _, size = self.offer(port).take()
        return self.made.memory.read(BUFFER + 0x1000, size)

    def offer(self, port: int) -> Queue:
        queue = self.made.queues[2 * port + 2 if port else 0]
        queue.offer(queue.chain([(BUFFER + 0x1000, 64, WRITE)]))
        queue.notify()
        return queue


class Run:
    """Ports with pipes at the host's end, and a guest."""

    def __init__(self, made: Rig, control: RunControl, pipes: list[tuple[int, int]]) -> None:
        self.made = made
        self.control = control
        self.input, self.output, self.errors = pipes[0][1], pipes[1][0], pipes[2][0]
        self.guest = Guest(made)


@pytest.fixture
def run() -> Iterator[Run]:
    pipes = [os.pipe() for _ in range(3)]
    control = RunControl()
    stdio = pipes[0][0], pipes[1][1], pipes[2][1]
    ports = CommandPorts(stdio, on_terminal=False)
    machine: Any = SimpleNamespace(control=control, inquire=None)
    ports.machine = machine
    try:
        with rig(ports.device) as made:
            yield Run(made, control, pipes)
    finally:
        ports.close()
        control.close()
        for end in {fd for ends in pipes for fd in ends}:
            os.close(end)


def test_the_streams_are_the_commands_and_the_end_of_input_is_told(run: Run) -> None:
    os.write(run.input, b"a line\n")
    assert run.guest.read(STDIN) == b"a line\n"
    run.guest.write(STDOUT, b"out")
    run.guest.write(STDERR, b"err")
    assert (os.read(run.output, 99), os.read(run.errors, 99)) == (b"out", b"err")
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, run.input)  # the only writer closes
    os.close(devnull)
    run.guest.offer(STDIN)  # the input is read while the guest has room
    assert run.guest.read(CONTROL) == b"stdin-end 7\n"


def test_a_status_that_comes_before_the_output_waits_for_the_output(run: Run) -> None:
    run.guest.write(CONTROL, b"ready\nstarted\nstatus 7 3 2\n")
    run.guest.write(STDOUT, b"out")
    assert run.control.end is None
    run.guest.write(STDERR, b"er")
    until(lambda: run.control.end)
    assert run.control.end == End("exit", 7)


def test_a_line_may_come_in_parts(run: Run) -> None:
    for part in (b"sta", b"tus 0", b" 0 0", b"\n"):
        run.guest.write(CONTROL, part)
    until(lambda: run.control.end)
    assert run.control.end == End("exit", 0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"status 1 2\n", "the guest reports a status of '1 2'"),
        (b"status 1 2 " + b"9" * 30 + b"\n", "the guest reports a status of"),
        (b"failed no \x1b[2Jshell\n", "the guest can't run the command: no \ufffd[2Jshell"),
        (b"x" * 5000, "the machine says a line without end"),
    ],
)
def test_what_init_never_says_ends_the_run_with_one_clear_line(
    run: Run, line: bytes, message: str
) -> None:
    _offer(run, line)
    until(lambda: run.made.errors)
    error = run.made.errors.pop()
    assert isinstance(error, RingletError)
    assert error.message.startswith(message)


def _offer(run: Run, data: bytes) -> None:
    queue = run.made.queues[1]
    run.made.memory.write(BUFFER, data)
    queue.offer(queue.chain([(BUFFER, len(data), 0)]))
    queue.notify()


def test_a_reader_that_has_gone_ends_the_run(run: Run) -> None:
    os.dup2(run.input, run.output)  # the only reader closes
    run.guest.write(STDOUT, b"anybody?")
    until(lambda: run.control.end)
    assert run.control.end == OUTPUT_CLOSED
