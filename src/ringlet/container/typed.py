"""The terminal of this process, for a process of a container that has no terminal of its own.

The process has a session of its own, so the kernel wouldn't stop it when it reads the terminal in
the background: it would get what is typed for others. So it never has the terminal to read. What
is typed is read here, where the rules of job control hold, and comes to it through a pipe.

Source: credentials(7), "Process group ID and session ID"; signal(7), SIGTTIN; termios(3).
"""

from __future__ import annotations

import os

from ringlet.closing import Closing
from ringlet.host.relay import Relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.host.polling import Ready

_READ_AHEAD = 4096  # bytes of input that the process hasn't taken


class TypedInput(Closing):
    """A part that moves what is typed to a pipe; `fd` is the pipe's end for the process."""

    def __init__(self) -> None:
        self.fd, pipe = os.pipe()
        self._relay: Relay | None = Relay(0, pipe, limit=_READ_AHEAD)
        os.close(pipe)  # the relay has opened it again

    def give(self) -> None:
        """The process has its end."""
        os.close(self.fd)
        self.fd = -1

    def watch(self) -> list[tuple[int, int]]:
        """The descriptors of the relay, until the end of what is typed."""
        return [] if self._relay is None else self._relay.watch()

    def step(self, ready: Ready) -> None:
        """Moves what is there. In the background, the kernel stops us as we read."""
        if self._relay is None:
            return
        try:
            self._relay.step(ready)
        except OSError:  # nobody has the pipe's other end any more
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
    """A descriptor for the terminal of `fd`, which the caller closes, that can't be read.

    As it is where the terminal is another user's (after `su`), and can't be opened again.
    """
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return os.dup(fd)
