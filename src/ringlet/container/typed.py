"""The terminal of this process, for a process of a container that has no terminal of its own.

The process has a session of its own, so the kernel wouldn't stop it when it reads the terminal in
the background: it would get what is typed for others. So it never has the terminal to read. What
is typed is read here, where the rules of job control hold, and comes to it through a pipe.

Source: credentials(7), "Process group ID and session ID"; signal(7), SIGTTIN; termios(3).
"""

import os
from select import POLLIN, POLLOUT, poll

from ringlet.closing import Closing


class TypedInput(Closing):
    """Moves what is typed on `terminal` to a pipe; `fd` is the end for the process."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self.fd, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        self._pending = b""  # read here, and not yet taken by the process

    def give(self) -> None:
        """The process has its end."""
        os.close(self.fd)
        self.fd = -1

    def listen(self, waiting: poll) -> None:
        """What to wait for next: no more is read than the process takes."""
        if self._pipe >= 0:
            waiting.register(self._terminal, 0 if self._pending else POLLIN)
            waiting.register(self._pipe, POLLOUT if self._pending else 0)

    def move(self, ready: dict[int, int], waiting: poll) -> None:
        """Moves what is there. In the background, the kernel stops us as we read."""
        if self._pipe < 0:
            return
        try:
            if self._terminal in ready and not self._pending:
                self._pending = os.read(self._terminal, 4096)
                if not self._pending:
                    raise EOFError
            if self._pending:
                self._pending = self._pending[os.write(self._pipe, self._pending) :]
            elif self._pipe in ready:  # nobody has its other end any more
                raise EOFError
        except BlockingIOError:
            pass
        except (EOFError, OSError):  # nothing more is typed, or nobody reads it
            waiting.unregister(self._terminal)
            waiting.unregister(self._pipe)
            self._close_pipe()
        self.listen(waiting)

    def drain(self) -> None:
        """Who has ended reads no more."""

    def resize(self) -> None:
        """A pipe has no size."""

    def close(self) -> None:
        """Ends the process's input."""
        self._close_pipe()
        if self.fd >= 0:
            self.give()

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1


def open_to_write(fd: int) -> int:
    """A descriptor for the terminal of `fd`, which the caller closes, that can't be read.

    As it is where the terminal is another user's (after `su`), and can't be opened again.
    """
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return os.dup(fd)
