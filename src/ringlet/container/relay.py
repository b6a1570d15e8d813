"""The terminal of this process and a container's, tied together.

The container's pseudo-terminal does all the processing of keys and lines, so this one is raw.
The container sends its pseudo-terminal's master end through a socket, as it would to an engine.

Source: pty(7); ioctl_tty(2), TIOCSWINSZ; OCI runtime command line interface, "Console socket".
"""

import os
from contextlib import suppress
from fcntl import ioctl
from select import POLLIN, POLLOUT, poll
from socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, recv_fds, socket
from tempfile import mkdtemp
from termios import TIOCGWINSZ, TIOCSWINSZ

from ringlet.closing import Closing
from ringlet.container.state import StateError
from ringlet.host.terminal import Terminal

_SECONDS = 10  # until the container, which is there by then, has sent its terminal


class ConsoleSocket(Closing):
    """A socket at `path`, for a container's terminal."""

    def __init__(self) -> None:
        self._folder = mkdtemp(prefix="ringlet-console-")
        self.path = os.path.join(self._folder, "socket")
        self._socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        self._socket.bind(self.path)
        self._socket.listen(1)
        self._socket.settimeout(_SECONDS)

    def receive(self) -> int:
        """The master end of the terminal that the container has sent."""
        fds: list[int] = []
        try:
            while not fds:  # one that couldn't be made, and was tried in another way, hung up
                with self._socket.accept()[0] as sender:
                    sender.settimeout(_SECONDS)
                    _, fds, _, _ = recv_fds(sender, 4096, 1)
        except TimeoutError:
            raise StateError("the container sent no terminal", "is it as it was created?") from None
        os.set_inheritable(fds[0], False)
        return fds[0]

    def close(self) -> None:
        """Removes the socket."""
        self._socket.close()
        os.unlink(self.path)
        os.rmdir(self._folder)


class Relay(Closing):
    """Between standard input and output, a terminal or not, and the container's at `master`."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._input, self._output = 0, 1
        self._terminal: Terminal | None = None
        self._input_open = self._master_open = True
        self._pending = b""  # read here, and not yet taken by the container
        os.set_blocking(master, False)
        if os.isatty(self._input):
            self._terminal = Terminal(self._input, raw_output=True)
            self._terminal.__enter__()
        self.resize()

    def listen(self, waiting: poll) -> None:
        """What to wait for next: no more input than the container takes."""
        if self._input_open:
            waiting.register(self._input, 0 if self._pending else POLLIN)
        if self._master_open:
            waiting.register(self._master, POLLIN | (POLLOUT if self._pending else 0))

    def move(self, ready: dict[int, int], waiting: poll) -> None:
        """Moves what is there."""
        if ready.get(self._master, 0) & ~POLLOUT and not self._show():
            self._master_open = False  # nobody has the other end any more
            self._pending = b""
            waiting.unregister(self._master)
        if self._input in ready and not self._pending:
            with suppress(OSError):  # it hung up
                self._pending = os.read(self._input, 4096)
            if not self._pending:
                self._input_open = False
                waiting.unregister(self._input)
                self._pending = b"\x04"  # the end, as a user's key says it
        if self._pending and self._master_open:
            try:
                self._pending = self._pending[os.write(self._master, self._pending) :]
            except BlockingIOError:
                pass
            except OSError:
                self._pending = b""
        self.listen(waiting)

    def drain(self) -> None:
        """What the container has written before its end."""
        while self._show():
            pass

    def resize(self) -> None:
        """Gives the container's terminal the size of this one."""
        for fd in (self._input, self._output):
            try:
                size = ioctl(fd, TIOCGWINSZ, bytes(8))
            except OSError:
                continue
            ioctl(self._master, TIOCSWINSZ, size)
            return

    def close(self) -> None:
        """Puts the terminal's mode back."""
        if self._terminal is not None:
            self._terminal.close()
        os.close(self._master)

    def _show(self) -> bool:
        """Writes what the container has written; whether there was something."""
        try:
            data = os.read(self._master, 65536)
        except BlockingIOError:
            return False
        except OSError:  # EIO: nobody has the other end
            return False
        while data:
            data = data[os.write(self._output, data) :]
        return True
