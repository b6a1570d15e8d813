"""Attaches this process to one of a container, which gets its signals and its terminal.

Signals are caught from before the process is there until after its end, and none is lost: they
wait until they can be sent on. One that would end this program before the process is there does
that (host/interrupt.py).

Source: signal(7); pidfd_open(2).
"""

from __future__ import annotations

# The module `signal` makes enums of it all, which takes a tenth of a whole `run`.
import _signal as signal  # type: ignore[import-not-found]

from ringlet.closing import Closing
from ringlet.host import interrupt, polling
from ringlet.host.signals import Handlers, Signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from ringlet.container.console_socket import ConsoleSocket
    from ringlet.host.polling import Part
    from ringlet.host.pty_relay import PtyRelay

    class Process(Protocol):
        """A process of a container."""

        def fileno(self) -> int:
            """Readable once it has ended."""

        def signal(self, number: int) -> object:
            """Sends it a signal; it may have ended."""


# Not sent on: what can't be caught, what tells of this process itself, and what a shell's job
# control says to this one.
_OWN = {
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGCHLD,
    signal.SIGPIPE,
    signal.SIGURG,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGSYS,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCONT,
}
# The highest are left: a vCPU of this process may be kicked by one (csrc/core/kick.c).
_SENT_ON = {*range(1, signal.SIGSYS), *range(signal.SIGRTMIN, signal.SIGRTMAX - 3)} - _OWN


class Attachment(Closing):
    """Catches signals from now on; `follow` attends a process to its end."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._end: polling.End | None = None
        self._socket: ConsoleSocket | None = None
        self._terminal: PtyRelay | None = None
        self._signals = Signals(_SENT_ON, self._on_signal)
        self._interrupts = Handlers(interrupt.ENDING, interrupt.note)

    def open_console(self) -> str:
        """The path of a socket to which the process is to send its terminal."""
        from ringlet.container.console_socket import ConsoleSocket

        self._socket = ConsoleSocket()
        return self._socket.path

    def take_terminal(self) -> None:
        """Ties the terminal that the process has sent to ours, if it was to send one."""
        if self._socket is not None and self._terminal is None:
            from ringlet.host.pty_relay import PtyRelay

            self._terminal = PtyRelay(self._socket.receive())

    def follow(self, process: Process, *parts: Part) -> None:
        """Sends the signals on to `process`, and moves what its terminal has, until it has ended.

        `parts` are polled for meanwhile.
        """
        self._process = process
        self._interrupts.close()
        interrupt.forget()  # they wait to be sent on, too
        self._end = end = polling.End(process.fileno())
        followed = [self._signals, *parts, end]
        if self._terminal is not None:
            followed.insert(1, self._terminal)
        while not end.came:
            ready = polling.wait(followed)
            for part in followed:
                part.step(ready)
        if self._terminal is not None:
            self._terminal.drain(self._signals)

    def _on_signal(self, number: int) -> None:
        assert self._process is not None
        if number == signal.SIGWINCH and self._terminal is not None:
            self._terminal.resize()
        elif self._end is not None and self._end.came:
            # Only what it has written is still to be shown, to somebody who may not read it.
            if number in interrupt.ENDING and self._terminal is not None:
                self._terminal.drop()
        else:
            self._process.signal(number)

    def close(self) -> None:
        """Gives the terminal back, removes the socket, puts the handlers back."""
        if self._terminal is not None:
            self._terminal.close()
        if self._socket is not None:
            self._socket.close()
        self._interrupts.close()
        self._signals.close()
