"""`run` and `exec`: a process is launched, and unless it is detached, attended to its end."""

import os

from ringlet.closing import Closing
from ringlet.container.foreground import Foreground
from ringlet.container.runtime import write_pid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ringlet.container.launch.helper import Launched
    from ringlet.container.notify import Notify
    from ringlet.container.relay import ConsoleSocket, Relay
    from ringlet.container.runtime import Runtime
    from ringlet.container.spec.types import Process as ProcessConfig
    from ringlet.container.state import Record


def run(
    runtime: "Runtime",
    id: str,
    creation: "dict[str, Any]",
    *,
    console_socket: str | None,
    detach: bool,
    keep: bool,
) -> int:
    """Creates and starts a container; unless `detach`, waits for its end, its status, and deletes.

    `creation` is for `Runtime.create`.
    """
    if detach:
        container, _ = runtime.create(id, console_socket=console_socket, **creation)
        _, notify = _start(runtime, container)
        if notify is not None and container.init is not None:
            notify.wait(container.init)
        return 0
    with Foreground() as foreground, _Console() as console:
        container, launched = runtime.create(id, open_console=console.open, **creation)
        relay, notify = _start(runtime, container, console)
        try:
            return _attend(foreground, launched, relay, notify)
        finally:
            if not keep:
                runtime.delete(id, force=True, init=container.init)


def execute(
    runtime: "Runtime",
    id: str,
    edit: "Callable[[ProcessConfig], ProcessConfig]",
    *,
    console_socket: str | None,
    detach: bool,
    ignore_paused: bool,
    pid_file: str | None,
    preserve_fds: int,
    cgroups: "Sequence[str]",
) -> int:
    """Runs one more process in a container; unless `detach`, waits for its end, its status."""

    def launch(open_console: "Callable[[], str] | None") -> "Launched":
        launched = runtime.execute(
            id,
            edit if detach else lambda process: _sized(edit(process)),
            console_socket=console_socket,
            open_console=open_console,
            ignore_paused=ignore_paused,
            cgroups=cgroups,
            preserve_fds=preserve_fds,
        )
        try:
            if pid_file is not None:
                write_pid(pid_file, launched.pid)
        except BaseException:
            os.kill(launched.pid, 9)
            raise
        return launched

    if detach:
        launch(None)
        return 0
    with Foreground() as foreground, _Console() as console:
        launched = launch(console.open)
        return _attend(foreground, launched, console.relay())


def _sized(process: "ProcessConfig") -> "ProcessConfig":
    """Its terminal has the size of this one from the start."""
    if process.get("terminal") and "consoleSize" not in process:
        for fd in (0, 1):
            try:
                size = os.get_terminal_size(fd)
            except OSError:
                continue
            process = {**process, "consoleSize": {"height": size.lines, "width": size.columns}}
            break
    return process


def _attend(
    foreground: Foreground,
    launched: "Launched",
    relay: "Relay | None",
    notify: "Notify | None" = None,
) -> int:
    """The status of the process, once it has ended: 128 + n after signal n."""
    foreground.follow(_Child(launched), relay, notify)
    code = os.waitstatus_to_exitcode(os.waitpid(launched.pid, 0)[1])
    return 128 - code if code < 0 else code


def _start(
    runtime: "Runtime", container: "Record", console: "_Console | None" = None
) -> "tuple[Relay | None, Notify | None]":
    try:
        with container:
            relay = None if console is None else console.relay()  # its size, before it runs
            return relay, runtime.start_locked(container, foreground=console is not None)
    except BaseException:
        runtime.delete(container.id, force=True, init=container.init)
        raise


class _Child:
    """For `Foreground.follow`."""

    def __init__(self, launched: "Launched") -> None:
        self._pid = launched.pid
        self._pidfd = launched.pidfd

    def fileno(self) -> int:
        """Readable once it has ended."""
        return self._pidfd

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        os.kill(self._pid, number)  # a child's id stays its own until it is waited for


class _Console(Closing):
    """The console socket of a process with a terminal; without one, nothing at all."""

    def __init__(self) -> None:
        self._socket: ConsoleSocket | None = None
        self._relay: Relay | None = None

    def open(self) -> str:
        """The path of the socket."""
        from ringlet.container.relay import ConsoleSocket

        self._socket = ConsoleSocket()
        return self._socket.path

    def relay(self) -> "Relay | None":
        """Ties the terminal that the process has sent to this one; None if it has none."""
        if self._socket is not None and self._relay is None:
            from ringlet.container.relay import Relay

            self._relay = Relay(self._socket.receive())
        return self._relay

    def close(self) -> None:
        """Removes the socket, and gives this terminal back."""
        if self._relay is not None:
            self._relay.close()
        if self._socket is not None:
            self._socket.close()
