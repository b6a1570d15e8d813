"""`run` and `exec`: launch a process and, unless it is detached, wait for its end."""

from __future__ import annotations

import os

from ringlet.container.attachment import Attachment
from ringlet.errors import RingletError
from ringlet.host.standard_streams import find_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.container.launch.helper import Launched
    from ringlet.container.notify import Notify
    from ringlet.container.requests import CreateRequest, ExecRequest
    from ringlet.container.runtime import Runtime
    from ringlet.container.spec.types import Process as ProcessConfig
    from ringlet.container.state import Record


def run(runtime: Runtime, id: str, request: CreateRequest, *, detach: bool, keep: bool) -> int:
    """Creates and starts a container, and returns an exit status.

    Unless `detach`, waits for the container's end, returns the status of its process, and deletes
    the container unless `keep`.
    """
    if detach:
        container, _ = runtime.create(id, request)
        notify = _start(runtime, container)
        if notify is not None and container.init is not None:
            notify.wait(container.init)
        return 0
    with Attachment() as attachment:
        container, launched = runtime.create(id, request, attachment)
        notify = _start(runtime, container, attachment)
        try:
            return _attend(attachment, launched, notify)
        finally:
            if not keep:
                runtime.delete(id, force=True, init=container.init)


def execute(runtime: Runtime, id: str, request: ExecRequest, *, detach: bool) -> int:
    """Runs one more process in a container, and returns an exit status.

    Unless `detach`, waits for the end of the process, and returns its status.
    """
    if detach:
        runtime.execute(id, request)
        return 0
    with Attachment() as attachment:
        launched = runtime.execute(id, request, attachment)
        attachment.connect()
        return _attend(attachment, launched)


def sized(
    edit: Callable[[ProcessConfig], ProcessConfig],
) -> Callable[[ProcessConfig], ProcessConfig]:
    """Returns a function that does what `edit` does, and sets the size of the process's terminal.

    A terminal without a size of its own gets the size of our terminal.
    """

    def edit_and_size(process: ProcessConfig) -> ProcessConfig:
        process = edit(process)
        if process.get("terminal") and "consoleSize" not in process:
            ours = find_terminal()
            if ours is not None:
                size = os.get_terminal_size(ours)
                return {**process, "consoleSize": {"height": size.lines, "width": size.columns}}
        return process

    return edit_and_size


def _attend(attachment: Attachment, launched: Launched, notify: Notify | None = None) -> int:
    """Waits for the end of the process, and returns its status: 128 + n after signal n.

    Raises RingletError if output is lost, which the process may not have noticed.
    """
    attachment.follow(_Child(launched), *([] if notify is None else [notify]))
    code = os.waitstatus_to_exitcode(os.waitpid(launched.pid, 0)[1])
    if attachment.lost is not None:
        raise RingletError(
            f"output of the command is lost: {attachment.lost.strerror}", "is the disk full?"
        )
    return 128 - code if code < 0 else code


def _start(
    runtime: Runtime, container: Record, attachment: Attachment | None = None
) -> Notify | None:
    try:
        with container:
            if attachment is not None:
                attachment.connect()  # sets the terminal's size before the container runs
            return runtime.start_locked(container, foreground=attachment is not None)
    except BaseException:
        runtime.delete(container.id, force=True, init=container.init)
        raise


class _Child:
    """The launched process, for `Attachment.follow`."""

    def __init__(self, launched: Launched) -> None:
        self._pid = launched.pid
        self._pidfd = launched.pidfd

    def fileno(self) -> int:
        """Returns a descriptor that is readable once the process has ended."""
        return self._pidfd

    def signal(self, number: int) -> None:
        """Sends a signal to the process."""
        os.kill(self._pid, number)  # the id of a child isn't reused until waitpid()
