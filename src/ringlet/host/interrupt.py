"""SIGINT, SIGTERM and SIGHUP, taken where a program can still leave nothing behind.

An exception at any line at all would come between a step and the note of it, or in the midst of a
clean-up. So a signal is noted, and is an exception only where the program asks for it (`check`),
or waits for others (`waiting`). Only the first one is; the rest is clean-up, and is done.

Source: signal(7); Python's documentation of `signal`, "Note on Signal Handlers and Exceptions".
"""

from __future__ import annotations

# The module `signal` makes enums of it all, which takes a tenth of a whole `ringlet-oci run`.
import _signal  # type: ignore[import-not-found]

from ringlet.host.signals import Handlers

ENDING = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM)

_noted = 0
_waits = False
_taken = False


class Interrupted(BaseException):
    """The program is to end, with `status`, by signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.status = 128 + number


def defer() -> None:
    """From now on signals are noted. What is ignored on purpose (nohup) stays so."""
    Handlers(ENDING, note)


def note(number: int, frame: object) -> None:
    """The handler."""
    global _noted
    if not _taken:
        _noted = _noted or number
        if _waits:
            check()


def check() -> None:
    """Raises Interrupted if a signal has come, once."""
    global _noted, _waits, _taken
    if _noted:
        number, _noted, _waits, _taken = _noted, 0, False, True
        raise Interrupted(number)


def forget() -> None:
    """Those that have come are another's to take."""
    global _noted
    _noted = 0


class _Waiting:
    """Within it a signal is an exception at once."""

    def __enter__(self) -> None:
        global _waits
        _waits = True
        check()

    def __exit__(self, *_: object) -> None:
        global _waits
        _waits = False


waiting = _Waiting()
