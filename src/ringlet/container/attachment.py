"""Attaches this process to a process of a container: passes on signals, terminal and streams.

This process catches signals from before the container's process exists until after its end. No
signal is lost: each waits until it can be sent on. A signal that would end this program before the
container's process exists does end this program (host/interrupt.py).

A process without a terminal of its own gets pipes as standard streams. This process moves the
bytes between them and its own streams (streams.py says why).

Source: signal(7); pidfd_open(2); null(4).
"""

from __future__ import annotations

# The module `signal` turns all constants into enums, which takes a tenth of the time of a `run`.
import _signal as signal  # type: ignore[import-not-found]
import os
import stat

from ringlet.closing import Closing
from ringlet.host import interrupt, polling
from ringlet.host.signals import Handlers, Signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from ringlet.container.console_socket import ConsoleSocket
    from ringlet.container.streams import Piped
    from ringlet.host.polling import Part
    from ringlet.host.pty_relay import PtyRelay

    class Process(Protocol):
        """A process of a container."""

        def fileno(self) -> int:
            """Returns a descriptor that is readable once the process has ended."""

        def signal(self, number: int) -> object:
            """Sends the process a signal; the process may have ended already."""


# Signals that are not sent on: those that can't be caught, those that tell of this process itself,
# and those that a shell's job control sends to this process.
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
# The highest signals are left out: one of them may kick a vCPU of this process (csrc/core/kick.c).
_SENT_ON = {*range(1, signal.SIGSYS), *range(signal.SIGRTMIN, signal.SIGRTMAX - 3)} - _OWN

_NULL = os.makedev(1, 3)


class Attachment(Closing):
    """Catches signals from now on; `follow` serves a process until its end."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._end: polling.End | None = None
        self._socket: ConsoleSocket | None = None
        self._terminal: PtyRelay | None = None
        self._streams: list[Piped] = []
        self._signals = Signals(_SENT_ON, self._on_signal)
        self._interrupts = Handlers(interrupt.ENDING, interrupt.note)

    def open_console(self) -> str:
        """Returns the path of a socket to which the process is to send its terminal."""
        from ringlet.container.console_socket import ConsoleSocket

        self._socket = ConsoleSocket()
        return self._socket.path

    def open_streams(self, fds: tuple[int, int, int] = (0, 1, 2)) -> tuple[int, int, int]:
        """Returns the standard streams for a process that has no terminal of its own.

        Each stream of `fds` but the null device becomes a pipe (`needs_pipe`). If standard output
        and standard error are one file, they become one pipe, so that their bytes keep their order.
        """
        given = list(fds)
        for i, fd in enumerate(fds):
            if i == 2 and given[1] != fds[1] and os.path.sameopenfile(fds[1], fd):
                given[i] = given[1]
            elif needs_pipe(fd):
                from ringlet.container.streams import Piped  # not for a terminal of its own

                self._streams.append(Piped(fd, is_input=i == 0))
                given[i] = self._streams[-1].end
        return given[0], given[1], given[2]

    def connect(self) -> None:
        """Connects our terminal and streams to the process, once the process has its ends."""
        for stream in self._streams:
            stream.give()
        if self._socket is not None and self._terminal is None:
            from ringlet.host.pty_relay import PtyRelay

            self._terminal = PtyRelay(self._socket.receive())

    def follow(self, process: Process, *parts: Part) -> None:
        """Sends signals on to `process` and relays its terminal or streams, until it has ended.

        `parts` are polled in the meantime, and the last output is moved at the end.
        """
        self._process = process
        self._interrupts.close()
        interrupt.forget()  # signals that came before also wait to be sent on
        self._end = end = polling.End(process.fileno())
        followed: list[Part] = [self._signals, *parts, *self._streams, end]
        if self._terminal is not None:
            followed.insert(1, self._terminal)
        while not end.came:
            ready = polling.wait(followed)
            for part in followed:
                part.step(ready)
        if self._terminal is not None:
            self._terminal.drain(self._signals)
        for stream in self._streams:
            if not stream.is_input:
                stream.drain(self._signals)

    @property
    def lost(self) -> OSError | None:
        """Why the end of the process's output is lost: a full disk. None if a reader has gone."""
        return next((one.error for one in self._streams if one.error is not None), None)

    def _on_signal(self, number: int) -> None:
        assert self._process is not None
        if number == signal.SIGWINCH and self._terminal is not None:
            self._terminal.resize()
        elif self._end is not None and self._end.came:
            # The process has ended: only its last output is left to show, perhaps to no reader.
            if number in interrupt.ENDING:
                for stream in self._streams:
                    stream.drop()
                if self._terminal is not None:
                    self._terminal.drop()
        else:
            self._process.signal(number)

    def close(self) -> None:
        """Gives the terminal back, removes pipes and socket, and restores the signal handlers."""
        for stream in self._streams:
            stream.close()
        if self._terminal is not None:
            self._terminal.close()
        if self._socket is not None:
            self._socket.close()
        self._interrupts.close()
        self._signals.close()


def needs_pipe(fd: int) -> bool:
    """Returns whether a container's process may not have the file of `fd` as a stream.

    It may have the null device, since the helper gives it the container's own (csrc/container/
    streams.c). The descriptor of a folder is refused later.
    """
    status = os.fstat(fd)
    if stat.S_ISCHR(status.st_mode):
        return status.st_rdev != _NULL
    return not stat.S_ISDIR(status.st_mode)
