"""Gives a container's process pipes of its own as standard streams.

The descriptor of a file is a way to the file. The container's root may be the file's owner on the
host: the host's root without a user namespace, or the user who runs ringlet. Then a process there
may change the file's mode by the descriptor, to that of a setuid program, too. A process can also
open a stream again, by /proc/self/fd, with the rights of its user: it could write to a file that it
got for reading, read and truncate a file that it got for appending, and read a terminal that it
got for writing. Any user may truncate a file that it got for appending, and change the settings of
a terminal. A pipe of the caller's is no better: the process could write to the pipe that it got
for reading, and read what other programs write to the pipe that it got for writing. A socket is
worse: by its other end, a container's root with CAP_SYS_PTRACE gets a handle to the process that
has made that end, and so that process's files (SO_PEERPIDFD, pidfd_getfd(2)); and a socket belongs
to the network namespace of the host. So the process gets new pipes, and this process moves the
bytes.

Typed input goes through a pipe for one more reason. The container's process has a session of its
own. So the kernel wouldn't stop the process when it reads this terminal in the background, and the
process would get input that is typed for other programs. This process, for which the rules of job
control hold, reads the typed input.

Source: proc_pid_fd(5); fchmod(2); credentials(7), "Process group ID and session ID"; signal(7),
SIGTTIN; unix(7), SO_PEERPIDFD.
"""

from __future__ import annotations

import errno
import os

from ringlet.closing import Closing
from ringlet.host.relay import Relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.host.polling import Part, Ready

_READ_AHEAD = 4096  # of input that the process hasn't read yet


class Piped(Closing):
    """Moves bytes between `fd` and a pipe, as a polled part; `end` is the process's end of it.

    With `is_input`, the process reads what `fd` has; else `fd` gets what the process writes.
    `error` tells why `fd` takes no more bytes, unless its reader has gone.
    """

    def __init__(self, fd: int, *, is_input: bool) -> None:
        self.is_input = is_input
        self.error: OSError | None = None
        # How it shows that the reader of a pipe, of a socket or of a terminal has gone.
        self._gone = (errno.EIO,) if os.isatty(fd) else (errno.EPIPE, errno.ECONNRESET)
        source, sink = os.pipe()
        self.end, ours = (source, sink) if is_input else (sink, source)
        # Any user of the container may open /dev/stdout. Nobody else has a name for the pipe.
        os.fchmod(self.end, 0o666)
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
        except OSError as error:
            self._note(error)
            self._relay.drop()
        if self._relay.at_end and self._relay.idle:
            self._end()

    def drain(self, *parts: Part) -> None:
        """Moves the last bytes of a process that has ended; polls for `parts` meanwhile."""
        if self._relay is not None:
            try:
                self._relay.drain(*parts)
            except OSError as error:
                self._note(error)
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

    def _note(self, error: OSError) -> None:
        if not self.is_input and error.errno not in self._gone:
            self.error = error

    def _end(self) -> None:
        if self._relay is not None:
            self._relay.close()
            self._relay = None
