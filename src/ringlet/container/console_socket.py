"""A socket to which a container sends the master end of its terminal, as to a container engine.

Source: OCI runtime command line interface, "Console socket"; unix(7), SCM_RIGHTS.
"""

from __future__ import annotations

import os
from socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, recv_fds, socket
from tempfile import mkdtemp

from ringlet.closing import Closing
from ringlet.container.state import StateError

_SECONDS = 10  # how long to wait for the terminal of a container that already exists


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
        """Returns the master end of the terminal that the container has sent."""
        fds: list[int] = []
        try:
            while not fds:  # a failed first try to make a terminal may have hung up
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
