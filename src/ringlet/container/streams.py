"""Gives a container's process standard streams that it can't open again with other rights.

A process can open a stream again, by /proc/self/fd, with the rights of its user. In a container of
an ordinary user, the container's root is this user. A process there could write to a file that it
got for reading, read and truncate a file that it got for appending, and read a terminal that it
got for writing. So such a process gets pipes, and this process moves the bytes.

Typed input always goes through a pipe. The container's process has a session of its own. So the
kernel wouldn't stop the process when it reads this terminal in the background, and the process
would get input that is typed for other programs. This process, for which the rules of job control
hold, reads the typed input.

Source: proc_pid_fd(5); credentials(7), "Process group ID and session ID"; signal(7), SIGTTIN.
"""

from __future__ import annotations

import os
import stat

from ringlet.closing import Closing
from ringlet.host.relay import Relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.host.polling import Part, Ready

_READ_AHEAD = 4096  # of input that the process hasn't read yet


class Piped(Closing):
    """Moves bytes between `fd` and a pipe, as a polled part; `end` is the process's end of it.

    With `is_input`, the process reads what `fd` has; else `fd` gets what the process writes.
    """

    def __init__(self, fd: int, *, is_input: bool) -> None:
        self.is_input = is_input
        source, sink = os.pipe()
        self.end, ours = (source, sink) if is_input else (sink, source)
        self._relay: Relay | None = (
            Relay(fd, ours, limit=_READ_AHEAD) if is_input else Relay(ours, fd)
        )
        os.close(ours)  # the relay has its own descriptor of the pipe

    def give(self) -> None:
        """Closes our copy of the process's end, once the process has it."""
        os.close(self.end)
        self.end = -1

    def watch(self) -> list[tuple[int, int]]:
        """Returns the relay's descriptors, until the source ends."""
        return [] if self._relay is None else self._relay.watch()

    def step(self, ready: Ready) -> None:
        """Moves available bytes. In the background, the kernel stops this process when it reads."""
        if self._relay is None:
            return
        try:
            self._relay.step(ready)
        except OSError:  # nobody takes the bytes any more
            self._relay.drop()
        if self._relay.at_end and self._relay.idle:
            self._end()

    def drain(self, *parts: Part) -> None:
        """Moves the last bytes of a process that has ended; polls for `parts` meanwhile."""
        if self._relay is not None:
            try:
                self._relay.drain(*parts)
            except OSError:  # nobody takes the bytes any more
                self._end()

    def drop(self) -> None:
        """Drops the bytes that aren't written yet."""
        if self._relay is not None:
            self._relay.drop()

    def close(self) -> None:
        """Ends the stream."""
        self._end()
        if self.end >= 0:
            self.give()

    def _end(self) -> None:
        if self._relay is not None:
            self._relay.close()
            self._relay = None


def needs_pipe(fd: int) -> bool:
    """Returns whether the container's process could open the file of `fd` with other rights."""
    if os.geteuid() == 0:  # to the container's users, the stream's file is another user's
        return False
    status = os.fstat(fd)
    is_null = status.st_rdev == os.makedev(1, 3) and stat.S_ISCHR(status.st_mode)
    return not (stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode) or is_null)


def open_to_write(fd: int) -> int:
    """Returns a write-only descriptor for the terminal of `fd`; the caller closes the descriptor.

    If the terminal is another user's (after `su`) and can't be opened, this is a copy of `fd`.
    """
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return os.dup(fd)
