"""The processor time of some threads of this process, also while they run.

Source: pthread_getcpuclockid(3).
"""

from __future__ import annotations

import time
from threading import Lock, get_ident


class ProcessorTime:
    """Seconds of processor time that threads have used, each between its `begin` and its `end`."""

    def __init__(self) -> None:
        self._lock = Lock()  # a thread that is in `_running` waits for it, so its clock is there
        self._running: dict[int, float] = {}
        self._ended = 0.0

    def begin(self) -> None:
        """The calling thread counts from now on."""
        with self._lock:
            self._running[get_ident()] = time.thread_time()

    def end(self) -> None:
        """The calling thread counts no longer."""
        with self._lock:
            self._ended += time.thread_time() - self._running.pop(get_ident())

    def read(self) -> float:
        """The sum so far. Any thread may ask."""
        with self._lock:
            return self._ended + sum(
                time.clock_gettime(time.pthread_getcpuclockid(thread)) - began
                for thread, began in self._running.items()
            )
