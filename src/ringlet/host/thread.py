"""Threads that leave the program's signals to its main thread."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]

from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from threading import Thread

# A blocked fault ends the process past every handler, and so past the terminal's.
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE}


def start_without_signals(thread: Thread) -> None:
    """Starts `thread` with all signals blocked, but those of a fault.

    Python's handlers run on the main thread, which a signal taken elsewhere would not wake.
    And with SIGTTIN blocked, a read from a terminal in the background fails and doesn't stop
    the process. A thread is born with the mask of the one that starts it.

    Raises `RingletError` where there can't be one more thread.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _FAULTS)
    try:
        thread.start()
    except RuntimeError as error:
        raise RingletError(
            f"{thread.name}: the system has no more threads: {error}", "look at `ulimit -u`"
        ) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
