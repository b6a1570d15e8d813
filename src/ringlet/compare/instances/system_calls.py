"""Counts the system calls of a process, by tracing the process."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from ringlet.compare.instances import Unavailable
from ringlet.observe.calls.tracees import TraceError, Tracees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.observe.calls.tracees import Call

_PAUSE = 0.0002  # seconds


def count(pid: int, begin: Callable[[], None], timeout: float = 10) -> int:
    """Returns how many system calls a process makes from `begin` to its end.

    Before the call of `count`, the process sleeps in a system call, which `begin` ends. The count
    includes this system call, and the calls of processes that the process makes. Raises
    `Unavailable` if the process can't be traced, or doesn't end within `timeout` seconds.
    """
    # The kernel ties the process to the tracing thread.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_count, pid, begin, time.monotonic() + timeout).result()


class _Counter:
    def __init__(self) -> None:
        self.calls = 0

    def begin(self, call: Call) -> None:
        self.calls += 1

    def end(self, call: Call, time: int, result: int | None, is_error: bool) -> None:
        pass


def _count(pid: int, begin: Callable[[], None], deadline: float) -> int:
    counter = _Counter()
    try:
        tracees = Tracees(pid, counter)
        try:
            tracees.step()  # it stops in the call in which it sleeps, and goes on
            begin()
            while tracees.step(block=False):
                time.sleep(_PAUSE)
                if time.monotonic() > deadline:
                    raise Unavailable(
                        "the traced process doesn't end", "try it again on an idle machine"
                    )
        finally:
            tracees.detach()
    except TraceError as error:
        raise Unavailable(error.message, error.hint) from error
    return counter.calls
