"""Turns SIGINT, SIGTERM and SIGHUP into exceptions at points where a program can clean up.

If a signal raised an exception at any line, the exception could come between a step and the note of
that step, or in the middle of a clean-up. So the handler only notes the signal. The exception comes
when the program calls `check`, or while the program waits for other processes inside `waiting`.
Only the first signal raises an exception, so that the program can finish its clean-up.

Source: signal(7); Python's documentation of `signal`, "Note on Signal Handlers and Exceptions".
"""

from __future__ import annotations

# The module `signal` makes many enums, which takes a tenth of the time of a `ringlet-oci run`.
import _signal  # type: ignore[import-not-found]

from ringlet.host.signals import Handlers

ENDING = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM)

_noted = 0
_waits = False
_taken = False


class Interrupted(BaseException):
    """Signal `number` ends the program, with the exit status `status`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.status = 128 + number


def defer() -> None:
    """Notes signals from now on. A signal that is ignored (by nohup) stays ignored."""
    Handlers(ENDING, note)


def note(number: int, frame: object) -> None:
    """Notes a signal, or raises Interrupted inside `waiting`: the signal handler."""
    global _noted
    if not _taken:
        _noted = _noted or number
        if _waits:
            check()


def check() -> None:
    """Raises Interrupted if a signal has come; later signals raise nothing."""
    global _noted, _waits, _taken
    if _noted:
        number, _noted, _waits, _taken = _noted, 0, False, True
        raise Interrupted(number)


def forget() -> None:
    """Forgets the signals that have come, so that they raise no exception."""
    global _noted
    _noted = 0


class _Waiting:
    """A context manager inside which a signal raises an exception at once."""

    def __enter__(self) -> None:
        global _waits
        _waits = True
        check()

    def __exit__(self, *_: object) -> None:
        global _waits
        _waits = False


waiting = _Waiting()
