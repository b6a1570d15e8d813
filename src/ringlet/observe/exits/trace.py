"""The exits of a machine as an iterator, for programs: `ringlet.trace`."""

from __future__ import annotations

from collections import deque
from threading import Condition

from ringlet.closing import Closing
from ringlet.errors import ConfigError
from ringlet.observe.exits.tracer import ExitTracer
from ringlet.observe.trace.recorder import BUFFER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.machine.machine import Machine
    from ringlet.observe.exits.exit_event import Exit
    from ringlet.observe.trace.filters import Filter
    from ringlet.observe.trace.summary import Summary

_LOOK = 0.05  # seconds between two looks at whether the run is over


class _Waiting:
    """The exits that wait for the program, at most `limit`. The tracer knows this, and no `Trace`.

    So nothing keeps a `Trace` alive that the program has left by `break`.
    """

    def __init__(self, limit: int) -> None:
        self.exits: deque[Exit] = deque()
        self.changed = Condition()
        self.missing = 0  # exits for which there was no room
        self._limit = limit

    def take(self, exits: list[Exit]) -> None:
        """Takes as many exits as there is room for."""
        with self.changed:
            room = max(self._limit - len(self.exits), 0)
            self.exits += exits[:room]
            self.missing += max(len(exits) - room, 0)
            self.changed.notify()


class Trace(Closing):
    """An iterator over the exits of a running machine, which ends with the run.

    Only one thread may use a trace.
    """

    def __init__(self, machine: Machine, wanted: Filter | None, buffer: int) -> None:
        if buffer < 1:
            raise ConfigError(f"a buffer of {buffer} exits is too small", "take at least 1")
        self._machine = machine
        self._waiting = _Waiting(buffer)
        self._tracer = ExitTracer(machine, wanted, self._waiting.take)
        machine.start()

    def __iter__(self) -> Trace:
        return self

    def __next__(self) -> Exit:
        """Returns the next exit; waits for it, at most to the end of the run."""
        waiting = self._waiting
        while True:
            with waiting.changed:
                if waiting.exits:
                    return waiting.exits.popleft()
                if not self._tracer.is_on:
                    raise StopIteration
                if not self._machine.control.has_ended:
                    waiting.changed.wait(_LOOK)
                    continue
            self._tracer.finish()

    @property
    def summary(self) -> Summary:
        """What has been counted so far; `missing` is how many exits had no room in the buffer."""
        self._tracer.summary.missing = self._waiting.missing
        return self._tracer.summary

    def close(self) -> None:
        """Ends the trace; the machine goes on. A second call does nothing."""
        self._tracer.close()
        with self._waiting.changed:
            self._waiting.exits.clear()

    def __del__(self) -> None:
        """Ends a trace that the program has left by `break`."""
        if hasattr(self, "_tracer"):
            self._tracer.close()


def trace(machine: Machine, wanted: Filter | None = None, *, buffer: int = BUFFER) -> Trace:
    """Starts `machine`, and returns an iterator over its exits while it runs.

    wanted  which exits: a `ringlet.observe.trace.filters.Filter`; None for all
    buffer  how many exits may wait for the program; the exits that don't fit are counted

    An exit is an `Exit` (observe/exits/exit_event.py), at most 0.1 seconds old. To leave the
    loop, or to close the iterator, ends the trace and not the run: call `wait`, `stop` or `kill`
    of the machine. Raises `RingletError` if the machine can't be started or has run already.
    """
    return Trace(machine, wanted, buffer)
