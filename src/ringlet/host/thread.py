"""Starts threads that leave the program's signals to the main thread."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]

from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from threading import Thread

# If the signal of a fault is blocked, the fault ends the process without calling any handler, also
# without the handler that restores the terminal.
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE}


def start_without_signals(thread: Thread) -> None:
    """Starts `thread` with all signals blocked, except the signals of a fault.

    Python's handlers run on the main thread. If another thread took a signal, the main thread would
    not wake. With SIGTTIN blocked, a read from a terminal in the background fails, and doesn't stop
    the process. A new thread has the signal mask of the thread that starts it.

    Raises `RingletError` if the system can't start one more thread.
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
