"""Counts the processor time of some threads of this process, also while the threads run.

Source: pthread_getcpuclockid(3).
"""

from __future__ import annotations

import time
from threading import Lock, get_ident


class ProcessorTime:
    """The processor time in seconds that threads use, each between its `begin` and its `end`."""

    def __init__(self) -> None:
        # `end` takes this lock, so a thread in `_running` can't end while `read` reads its clock.
        self._lock = Lock()
        self._running: dict[int, float] = {}
        self._ended = 0.0

    def begin(self) -> None:
        """Begins to count the calling thread."""
        with self._lock:
            self._running[get_ident()] = time.thread_time()

    def end(self) -> None:
        """Ends counting the calling thread."""
        with self._lock:
            self._ended += time.thread_time() - self._running.pop(get_ident())

    def read(self) -> float:
        """Returns the sum so far. Any thread may call this."""
        with self._lock:
            return self._ended + sum(
                time.clock_gettime(time.pthread_getcpuclockid(thread)) - began
                for thread, began in self._running.items()
            )
