"""sd_notify(3) from inside a container: the service manager hears that the container is ready.

The container doesn't get the socket in our NOTIFY_SOCKET. With that socket the container could
send any message: that the service stops, or that some process of the host is the main one. The
container has a socket of its own, in a folder of its state that is bound to /run/notify. Of the
container's messages only READY=1 is passed on.

Source: sd_notify(3); systemd.service(5), "Type=notify"; unix(7).
"""

from __future__ import annotations

import os

# The module `socket` turns its constants into enums: that takes longer than ringlet's own imports.
from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_DGRAM, socket
from select import POLLIN

from ringlet.closing import Closing
from ringlet.host import interrupt
from ringlet.host.polling import End, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.container.log import Log
    from ringlet.container.spec.types import Config
    from ringlet.container.state import HostProcess
    from ringlet.host.polling import Ready

VARIABLE = "NOTIFY_SOCKET"
_FOLDER = "notify"  # in the state folder
_NAME = "notify.sock"
_INSIDE = "/run/notify"
_MESSAGE = 4096


def prepare(config: Config, folder: str) -> None:
    """Makes the folder and binds it into the container; does nothing if an engine did this."""
    process = config.get("process")
    if process is None or any(one.startswith(f"{VARIABLE}=") for one in process.get("env", ())):
        return
    place = os.path.join(folder, _FOLDER)
    os.mkdir(place)
    os.chmod(place, 0o755)  # whatever the umask is: the container's users have to reach the socket
    options = ["bind", "ro", "nosuid", "nodev", "noexec"]
    config["mounts"] = [
        *config.get("mounts", ()),
        {"destination": _INSIDE, "source": place, "options": options},
    ]
    process["env"] = [*process.get("env", ()), f"{VARIABLE}={_INSIDE}/{_NAME}"]


def listen(folder: str, log: Log, *, main_pid: int | None) -> Notify | None:
    """Opens the socket before the container's process runs; None if it has no folder for one.

    Once the container is ready, `main_pid` is reported as the service's main process.
    """
    place = os.path.join(folder, _FOLDER)
    return Notify(place, log, main_pid) if os.path.isdir(place) else None


class Notify(Closing):
    """The container's socket in the folder `place`, until the container says that it is ready."""

    def __init__(self, place: str, log: Log, main_pid: int | None) -> None:
        self._log = log
        self._main_pid = main_pid
        self.ready = False
        self._socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        fd = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            path = f"/proc/self/fd/{fd}/{_NAME}"  # the whole path may be too long for a socket
            self._socket.bind(path)
            made = os.open(_NAME, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            try:  # all users of the container may write to the socket
                os.chmod(f"/proc/self/fd/{made}", 0o777)
            finally:
                os.close(made)
        except OSError:
            self._socket.close()
            raise
        finally:
            os.close(fd)

    def watch(self) -> list[tuple[int, int]]:
        """Returns the socket's descriptor, until the container has said that it is ready."""
        return [] if self.ready else [(self._socket.fileno(), POLLIN)]

    def step(self, ready: Ready) -> None:
        """Reads the container's message, and passes on that the container is ready."""
        if self._socket.fileno() in ready:
            try:
                said = self._socket.recv(_MESSAGE, MSG_DONTWAIT)
            except BlockingIOError:
                return
            if b"READY=1" in said.split(b"\n"):
                self.ready = True
                self._pass_on()

    def _pass_on(self) -> None:
        path = os.environ[VARIABLE]
        message = "READY=1" + (f"\nMAINPID={self._main_pid}" if self._main_pid else "")
        theirs = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        try:
            theirs.sendto(message.encode(), f"\0{path[1:]}" if path.startswith("@") else path)
        except OSError as error:
            self._log.warning(f"{VARIABLE} {path}: {error.strerror or error}")
        finally:
            theirs.close()

    def wait(self, process: HostProcess) -> None:
        """Waits until the container is ready, or the process has ended."""
        try:
            pidfd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return
        end = End(pidfd)
        while process.alive and not (self.ready or end.came):
            with interrupt.waiting:
                ready = wait([self, end])
            self.step(ready)
            end.step(ready)
        os.close(pidfd)

    def close(self) -> None:
        """Closes the socket: messages of the container are lost from here on."""
        self._socket.close()
