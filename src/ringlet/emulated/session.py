"""A nested run from start to end.

One thread polls all descriptors. Each standard stream of the command is a virtio-serial port. A
fourth port, `control`, carries lines:

    to the machine     signal N, winsize ROWS COLUMNS, stdin-end TOTAL
    from the machine   ready, started, status N STDOUT-TOTAL STDERR-TOTAL, failed MESSAGE

The totals count bytes. The ports aren't synchronized: when a line about an end arrives, data of
another port may still be on its way. The totals tell how much data is to come.

Source: the virtio specification 1.2, 5.3 Console Device.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from contextlib import ExitStack

from ringlet.emulated.init_plan import initramfs
from ringlet.emulated.installed_kernel import find_kernel, named_kernel
from ringlet.emulated.parts import Control, LogTail
from ringlet.emulated.qemu import Qemu, arguments, find_qemu
from ringlet.errors import RingletError
from ringlet.host.escape import EscapeCommand, EscapeFilter
from ringlet.host.polling import wait
from ringlet.host.relay import Relay
from ringlet.host.signals import Signals
from ringlet.host.terminal import Terminal
from ringlet.linux.init_lines import parse_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.emulated.nested_config import NestedConfig
    from ringlet.host.polling import Part

# The exit statuses of a run that didn't end by its command's end.
CRASHED, TIMEOUT, CANNOT, QUIT, OUTPUT_CLOSED = 70, 124, 125, 130, 141

_UP = 180  # seconds that a machine needs at most to start, on a slow host
_FOREGROUND = 0.5  # seconds between two checks for our return to the foreground
_LOG_LINES = 20
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_INSISTING = 3  # so many ending signals end the machine itself
_PASSED_ON = (*_ENDING, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
_NOT_SEEN = "of this host's files it sees all but /dev, /proc, /run and /sys"
_HELP = (
    b"\r\n"
    b"Ctrl-A x       end the machine\r\n"
    b"Ctrl-A z       suspend ringlet\r\n"
    b"Ctrl-A Ctrl-A  send Ctrl-A\r\n"
    b"Ctrl-A h       this help\r\n"
)


class MachineError(RingletError):
    """A failure that ended a run before its command ended. `status` is the reason.

    CANNOT: the machine did not start. CRASHED: the machine ended before its command. TIMEOUT: the
    time was over. `log` holds the last lines of the kernel's log.
    """

    def __init__(self, message: str, hint: str, status: int, log: list[str]) -> None:
        super().__init__(message, hint)
        self.status = status
        self.log = log


def run(config: NestedConfig, on_start: Callable[[], None] = lambda: None) -> int:
    """Runs the command on our own standard streams, and returns its status: 128 + n after signal n.

    `on_start` is called when the machine has started, before the command writes anything. `run` has
    to be called on the main thread. Raises `RingletError`; a `MachineError` has more details.
    """
    program = find_qemu(config.qemu)
    kernel = find_kernel() if config.kernel is None else named_kernel(config.kernel, config.modules)
    with ExitStack() as stack:
        on_terminal = os.isatty(0) and os.isatty(1)
        size = os.get_terminal_size(0) if on_terminal else None
        image = stack.enter_context(initramfs(config, kernel, size))
        ours, theirs = {}, {}
        for name in ("console", "control", "stdin", "stdout", "stderr"):
            ours[name], theirs[name] = (stack.enter_context(end) for end in socket.socketpair())
            ours[name].setblocking(False)
        ports = {name: end.fileno() for name, end in theirs.items()}
        passed = [image.fileno(), *ports.values()]
        options = arguments(config, kernel, image.fileno(), ports.pop("console"), ports)
        qemu = stack.enter_context(Qemu(program, options, passed))
        for end in theirs.values():
            end.close()  # so that our input ends when QEMU ends
        image.close()
        session = _Session(stack, qemu, ours, on_start)
        if on_terminal:
            session.take_terminal(stack)
        return session.run(config.timeout)


class _Session:
    """The session: moves data between the command in the machine and our own descriptors."""

    def __init__(
        self,
        stack: ExitStack,
        qemu: Qemu,
        ports: dict[str, socket.socket],
        on_start: Callable[[], None],
    ) -> None:
        self._console = LogTail(ports["console"].fileno())
        self._errors = LogTail(qemu.errors)
        self._control = Control(ports["control"], self._on_line)
        self._signals = stack.enter_context(Signals(_PASSED_ON, self._on_signal))
        self._stdin = stack.enter_context(Relay(0, ports["stdin"].fileno(), self._edit))
        self._stdout = stack.enter_context(Relay(ports["stdout"].fileno(), 1))
        self._stderr = stack.enter_context(Relay(ports["stderr"].fileno(), 2))
        self._outputs = (self._stdout, self._stderr)
        # The terminal may only be read while we are in its foreground.
        self._reader = Terminal(0, raw_output=True) if os.isatty(0) else None
        self._terminal: Terminal | None = None  # raw, for the command's pseudo-terminal
        self._escape = EscapeFilter()
        self._started = False
        self._on_start = on_start
        self._ending_signals = 0
        self._status: int | None = None  # the status of the run, once it is known
        self._totals: list[int] | None = None  # bytes that the command wrote, once it has ended

    def take_terminal(self, stack: ExitStack) -> None:
        """Makes the terminal raw: from here on, the command gets every key."""
        assert self._reader is not None
        self._terminal = stack.enter_context(self._reader)

    def run(self, timeout: float | None) -> int:
        """Polls until the run ends, and returns its status. Raises `MachineError`."""
        up = time.monotonic() + _UP
        end = float("inf") if timeout is None else time.monotonic() + timeout
        stdin_ended = False
        while not self._finished():
            now = time.monotonic()
            if now >= end:
                what = "the command" if self._started else "the machine, which wasn't up yet,"
                message = f"stopped {what} after {timeout:g} seconds"
                raise MachineError(message, "give it longer with --timeout", TIMEOUT, [])
            if not self._started and now >= up:
                raise self._failure(f"the machine did not come up within {_UP} seconds")
            self._step((end if self._started else min(end, up)) - now)
            if self._stdin.at_end and not stdin_ended:
                stdin_ended = True
                self._control.send(f"stdin-end {self._stdin.read}")
        if self._status is None:
            raise self._lost()
        return self._status

    def _finished(self) -> bool:
        if self._status is not None and self._totals is None:
            return True
        if self._totals == [relay.written for relay in self._outputs]:
            return True
        return not self._control.open and all(r.at_end and r.idle for r in self._outputs)

    def _step(self, seconds: float) -> None:
        """Waits `seconds` at most for events, and handles them."""
        was_paused = self._stdin.paused
        self._stdin.paused = self._reader is not None and not self._reader.in_foreground()
        if self._stdin.paused:
            seconds = min(seconds, _FOREGROUND)
        elif was_paused and self._terminal is not None:
            self._terminal.make_raw()
        parts: tuple[Part, ...] = (
            *(self._signals, self._control, self._console, self._errors),
            *(self._stdin, *self._outputs),
        )
        ready = wait(parts, min(seconds, 3600))
        for part in parts:
            try:
                part.step(ready)
            except OSError as error:
                self._no_sink(part, error)

    def _no_sink(self, part: Part, error: OSError) -> None:
        """Handles a failed write of `part`, whose reader takes no more data."""
        if part is self._stdin:
            self._stdin.drop()  # the machine has ended; its last data tells why
        elif error.errno in (errno.EPIPE, errno.EIO, errno.ECONNRESET):
            self._status, self._totals = OUTPUT_CLOSED, None
        else:
            raise RingletError(
                f"can't write the command's output: {error.strerror}", "make room there"
            ) from error

    def _edit(self, data: bytes) -> bytes:
        """Returns the input for the command. On a terminal, handles the keys for ringlet."""
        if self._terminal is None:
            return data
        keys = b""
        for part in self._escape.feed(data):
            if isinstance(part, bytes):
                keys += part
            elif part is EscapeCommand.QUIT:
                self._status, self._totals = QUIT, None
            elif part is EscapeCommand.SUSPEND:
                self._terminal.suspend()
            elif part is EscapeCommand.HELP:
                self._terminal.show(_HELP)
        return keys

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGWINCH:
            if self._terminal is not None:
                size = os.get_terminal_size(0)
                self._control.send(f"winsize {size.lines} {size.columns}")
            return
        if number in _ENDING:
            self._ending_signals += 1
            if not self._started or self._ending_signals >= _INSISTING:
                self._status, self._totals = 128 + number, None
        self._control.send(f"signal {number}")

    def _on_line(self, word: str, rest: str) -> None:
        if word == "started":
            self._started = True
            self._on_start()
        elif word == "failed":
            raise self._failure(f"the machine can't run the command: {rest}", _NOT_SEEN)
        elif word == "status" and self._status is None:
            found = parse_status(rest)
            if found is None:
                raise self._failure(f"the machine reports a status of {rest!r}")
            self._started = True
            self._status, *self._totals = found

    def _lost(self) -> MachineError:
        """Returns the error that says why QEMU has ended."""
        self._console.drain()
        self._errors.drain()
        if self._console.tells_of_panic:
            return self._failure("the machine's kernel panicked")
        words = [line for line in self._errors.last_lines(_LOG_LINES) if "warning:" not in line]
        if words:
            return self._failure(f"QEMU ended: {words[-1]}")
        if self._started:
            return self._failure("the machine ended before its command did")
        return self._failure("the machine ended before it was up")

    def _failure(self, message: str, hint: str = "") -> MachineError:
        self._console.drain()
        log = self._console.last_lines(_LOG_LINES)
        if not hint:
            hint = "the end of what it said is below" if log else "check QEMU and the kernel"
        return MachineError(message, hint, CRASHED if self._started else CANNOT, log)
