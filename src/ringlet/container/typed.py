"""Passes typed input on to a process of a container that has no terminal of its own.

The process has a session of its own. So the kernel wouldn't stop the process when it reads this
terminal in the background, and the process would get input that is typed for other programs.
Therefore the process never gets the terminal to read. This process, for which the rules of job
control hold, reads the typed input, and passes it on through a pipe.

Source: credentials(7), "Process group ID and session ID"; signal(7), SIGTTIN; termios(3).
"""

from __future__ import annotations

import os

from ringlet.closing import Closing
from ringlet.host.relay import Relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.host.polling import Ready

_READ_AHEAD = 4096  # of input that the process hasn't read yet


class TypedInput(Closing):
    """Moves typed input to a pipe, as a polled part; `fd` is the pipe's end for the process."""

    def __init__(self) -> None:
        self.fd, pipe = os.pipe()
        self._relay: Relay | None = Relay(0, pipe, limit=_READ_AHEAD)
        os.close(pipe)  # the relay has its own descriptor of the pipe

    def give(self) -> None:
        """Closes our copy of the process's end, once the process has it."""
        os.close(self.fd)
        self.fd = -1

    def watch(self) -> list[tuple[int, int]]:
        """Returns the relay's descriptors, until the typed input ends."""
        return [] if self._relay is None else self._relay.watch()

    def step(self, ready: Ready) -> None:
        """Moves available input. In the background, the kernel stops this process when it reads."""
        if self._relay is None:
            return
        try:
            self._relay.step(ready)
        except OSError:  # nobody has the pipe's other end open any more
            self._relay.drop()
        if self._relay.at_end and self._relay.idle:
            self._end()

    def close(self) -> None:
        """Ends the process's input."""
        self._end()
        if self.fd >= 0:
            self.give()

    def _end(self) -> None:
        if self._relay is not None:
            self._relay.close()
            self._relay = None


def open_to_write(fd: int) -> int:
    """Returns a write-only descriptor for the terminal of `fd`; the caller closes the descriptor.

    If the terminal is another user's (after `su`) and can't be opened, this is a copy of `fd`.
    """
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return os.dup(fd)
