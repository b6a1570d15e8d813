"""Runs a container in the foreground: handles its signals, terminal, report and exit status."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import os
import sys
from contextlib import ExitStack, nullcontext
from threading import Timer

from ringlet.cli.answer import CANNOT, print_json, report
from ringlet.closing import Closing
from ringlet.container.attachment import Attachment
from ringlet.container.container import Container
from ringlet.container.launch.helper import check_descriptors
from ringlet.host import interrupt
from ringlet.host.workload import Workload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any, Protocol

    from ringlet.container.container import ContainerResult

    class Observer(AbstractContextManager[object], Protocol):
        """Watches a run. Is entered before the container is made, and left once all is closed."""

        def watch(self, container: Container) -> AbstractContextManager[object]:
            """Watches the container, which is made and not started, until the context's end."""


def run(values: dict[str, Any], *, as_json: bool = False, observer: Observer | None = None) -> int:
    """Runs the container of `values`, for `Workload`, and returns the command's exit status.

    `observer` watches the run.
    """
    check_descriptors()  # checked before any is opened: to load a module takes one
    values.setdefault("tty", not as_json and os.isatty(0) and os.isatty(1))
    config = Workload(**values)
    output = 2 if as_json else 1
    with observer or nullcontext(), ExitStack() as stack:
        attachment = stack.enter_context(Attachment())
        stdio = (0, output, 2)
        container = stack.enter_context(
            Container(
                config,
                stdio=stdio if config.tty else attachment.open_streams(stdio),
                console_socket=attachment.open_console() if config.tty else None,
            )
        )
        for note in container.notes:
            print(f"ringlet: note: {note}", file=sys.stderr)
        attachment.connect()
        interrupt.check()
        if observer is not None:
            stack.enter_context(observer.watch(container))
        container.start()
        stopping = stack.enter_context(_Stopping(container))
        attachment.follow(stopping)
        result = container.wait()
        stats = container.stats() if as_json else {}
    assert result is not None
    if as_json:
        print_json(_as_json(container, result, stats))
    if result.reason == "timeout":
        report(f"stopped after {config.timeout:g} seconds", "give it longer with --timeout")
    elif stopping.late:
        report(
            f"killed: it went on for {config.stop_timeout:g} seconds after it was asked to end",
            "give it longer with --stop-timeout",
        )
    elif result.oom_kills and result.status:
        report("the container ran out of memory", "give it more with --memory")
    elif attachment.lost is not None:
        report(f"output of the command is lost: {attachment.lost.strerror}", "is the disk full?")
        return result.status or CANNOT  # the command may not have noticed
    return result.status


class _Stopping(Closing):
    """The container, for `Attachment.follow`: ends even if its command ignores the signals."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._asked: set[int] = set()
        self._timer: Timer | None = None
        self.late = False  # whether the container was killed after `stop_timeout`

    def fileno(self) -> int:
        """Returns a descriptor that is readable once the container has ended."""
        return self._container.fileno()

    def signal(self, number: int) -> None:
        """Sends the signal to the container. The second SIGINT, or the second SIGTERM, kills it."""
        config = self._container.config
        self._container.signal(number)
        if number in self._asked:
            self._container.kill()
        if number in (signal.SIGINT, signal.SIGTERM):
            self._asked.add(number)
        # SIGHUP means that the terminal has gone. Without a terminal, each program gives SIGHUP a
        # meaning of its own.
        if number == signal.SIGTERM or (number == signal.SIGHUP and config.tty):
            self._timer = self._timer or self._start(config.stop_timeout)

    def _start(self, seconds: float) -> Timer:
        timer = Timer(seconds, self._kill)
        timer.daemon = True
        timer.start()
        return timer

    def _kill(self) -> None:
        self.late = True
        self._container.kill()

    def close(self) -> None:
        """Stops the timer that would kill the container."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()


def _as_json(
    container: Container, result: ContainerResult, stats: dict[str, Any]
) -> dict[str, Any]:
    timings = container.timings
    assert timings.created is not None
    return {
        "exit": {"reason": result.reason, "status": result.status},
        "oom_kills": result.oom_kills,
        "timings": {
            step: None if (at := getattr(timings, step)) is None else (at - timings.created) / 1e9
            for step in ("started", "end")
        },
        "stats": stats,
        "notes": container.notes,
    }
