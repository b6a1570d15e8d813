"""Traces the system calls of a container, on a thread of its own.

The kernel ties a traced process to the thread that traces it. When that thread ends before the
container does, for whatever reason, the kernel kills the container.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
from queue import SimpleQueue
from threading import Event, Lock, Thread
from time import monotonic_ns

from ringlet.closing import Closing
from ringlet.host.thread import start_without_signals
from ringlet.observe.calls.call_event import CALLS, Calls
from ringlet.observe.calls.tracees import Tracees
from ringlet.observe.trace.filters import Filter
from ringlet.observe.trace.summary import Summary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.container.container import Container
    from ringlet.observe.calls.call_event import SystemCall

BATCH = 64  # calls that are gathered before they are handed over
_OFTEN = 0.05  # seconds


class CallTracer(Closing):
    """Traces `container`, which must not be started yet, from its command's execve to its end.

    `take` gets each batch of calls, on a thread of the trace, one batch at a time; without `take`,
    the calls are only counted in `summary`. A batch comes when it is full, and at least ten times
    a second if there is any call. With `only_errors`, the trace is about calls that fail. If
    `take` raises an exception, the container is killed, and `close` raises the exception. Raises
    `TraceError`.
    """

    def __init__(
        self,
        container: Container,
        wanted: Filter | None = None,
        take: Callable[[list[SystemCall]], object] | None = None,
        *,
        only_errors: bool = False,
    ) -> None:
        self.summary = Summary(CALLS)
        self.unfollowed = 0  # processes of the container that the trace couldn't follow
        self._container = container
        self._take = take
        self._calls = Calls(
            wanted or Filter(), self.summary, shows=take is not None, only_errors=only_errors
        )
        self._began: SimpleQueue[BaseException | None] = SimpleQueue()
        self._ended = Event()
        self._lock = Lock()  # guards what `_hand_over` does
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="system calls")
        start_without_signals(self._thread)
        if (error := self._began.get()) is not None:
            self._thread.join()
            raise error
        self._courier = Thread(target=self._hand_over_often, name="batches of system calls")
        start_without_signals(self._courier)

    def _run(self) -> None:
        # The kernel sends SIGCHLD at each stop. Where the tracer blocks SIGCHLD, each SIGCHLD would
        # wake the main thread, which takes as long as the stop; else nobody gets an ignored signal.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))
        try:
            tracees = Tracees(self._container.pid, self._calls, from_exec=True, kill=True)
        except BaseException as error:
            self._began.put(error)
            return
        self._began.put(None)
        try:
            while tracees.step():
                if len(self._calls.batch) >= BATCH:
                    self._hand_over()
        except BaseException as error:
            self._error = self._error or error
        self._ended.set()
        self.unfollowed = tracees.unfollowed
        if self._calls.start is not None:
            self.summary.seconds = (monotonic_ns() - self._calls.start) / 1e9

    def _hand_over(self) -> None:
        with self._lock:
            waiting = self._calls.batch
            batch = [waiting.popleft() for _ in range(len(waiting))]
            if batch and self._take is not None:
                self._take(batch)

    def _hand_over_often(self) -> None:
        """Hands over what there is, often enough for a person who looks on."""
        try:
            is_over = False
            while not is_over:
                is_over = self._ended.wait(_OFTEN)
                self._hand_over()
        except BaseException as error:
            self._error = self._error or error
            self._container.kill()

    def close(self) -> None:
        """Ends the trace, and the container if it still runs. Raises what `take` has raised."""
        if self._thread.is_alive():
            self._container.kill()
        self._thread.join()
        self._courier.join()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
