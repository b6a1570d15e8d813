"""Measures how fast an instance works beside a misbehaving neighbour of the same kind."""

from __future__ import annotations

import shlex
import time
from contextlib import closing, suppress

from ringlet.compare.instances import Request, Unavailable
from ringlet.compare.instances.work_output import numbers, value
from ringlet.compare.measures import Found, Row
from ringlet.compare.sentences import listed
from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ringlet.compare.instances import Instance
    from ringlet.compare.lab import Lab
    from ringlet.compare.ways import Way

_FORK = ["fork", "10000"]
_BOMB = Request(_FORK, limited=True)
_BOMBS = Request(_FORK * 120, limited=True)  # in one instance, for longer than the loop runs
_TRIAL = Request(["fork", "100"], limited=True)  # limits let fewer forks succeed
_CRASH = Request(["crash"])
_STEPS = 10_000_000  # steps of the loop that find its rate
_LEAST, _MOST = 0.25, 5.0  # seconds that the loop runs beside the neighbour
_PATIENCE = 60.0  # seconds for each step that usually takes moments


class Measure:
    """The rate of a loop beside a bad neighbour, in percent of its rate alone."""

    name = "neighbour"
    group = "neighbour"
    rounds = 2
    seconds = 3.0

    def __init__(self, lab: Lab) -> None:
        self._tsc_hz = lab.tsc_hz
        self.rows = (_BOMB_ROW, _CRASH_ROW)

    def sample(self, way: Way) -> Mapping[str, Found | Exception]:
        """Measures beside a fork bomb, and beside a kernel crash if the kernel isn't the host's."""
        found: dict[str, Found | Exception] = {}
        for name, measure in (("bomb", self._bomb), ("crash", self._crash)):
            try:
                found[name] = measure(way)
            except RingletError as error:
                found[name] = error
        return found

    def _bomb(self, way: Way) -> Found:
        if not way.own_kernel and _forks(way, _TRIAL) >= int(_TRIAL.words[1]):
            raise Unavailable("nothing bounds its processes here: not tried", "run it as root")
        steps = self._steps(way, _LEAST)
        alone = _work(way, steps)
        with closing(way.spawn(_BOMBS)) as bomb:
            bomb.read_line(_PATIENCE)
            forks = _number(bomb, "forks")
            if not forks:
                return Found("its kernel has no fork(2): there is no bomb")
            percent = _percent(alone, way, steps)
        note = f"the bomb had {forks} processes"
        return Found(percent, note, command=shlex.join(way.command(_BOMB)))

    def _crash(self, way: Way) -> Found:
        if not way.own_kernel:
            return Found("shares the host's kernel: not tried")
        began = time.monotonic()
        _crash(way)
        # The loop runs long enough for another crash during its run.
        steps = self._steps(way, 1.5 * (time.monotonic() - began))
        alone = _work(way, steps)
        percent = _percent(alone, way, steps, lambda: _crash(way))
        return Found(percent, command=shlex.join(way.command(_CRASH)))

    def _steps(self, way: Way, seconds: float) -> int:
        """Returns how many steps of the loop take `seconds`, within bounds."""
        bounded = min(max(_LEAST, seconds), _MOST)
        return int(_STEPS * bounded * self._tsc_hz / _work(way, _STEPS))


class _Ended(Unavailable):
    """The workload's output ended before its work was done."""


def _work(way: Way, steps: int, during: Callable[[], None] = lambda: None) -> int:
    """Returns the cycles that a loop takes while `during` is called. Raises `_Ended`."""
    with closing(way.spawn(Request(["loop", str(steps)]))) as instance:
        instance.read_line(_PATIENCE)
        during()
        try:
            return max(1, _number(instance, "cycles"))
        except Unavailable as error:
            raise _Ended(error.message, error.hint) from error


def _percent(
    alone: int, way: Way, steps: int, during: Callable[[], None] = lambda: None
) -> float | str:
    """Returns the rate of the same work now in percent, or why there is none."""
    try:
        return 100 * alone / _work(way, steps, during)
    except _Ended as error:
        return f"it didn't live: {error.message}"


def _forks(way: Way, request: Request) -> int:
    with closing(way.spawn(request)) as instance:
        instance.read_line(_PATIENCE)
        return _number(instance, "forks")


def _crash(way: Way) -> None:
    """Crashes the kernel of a VM."""
    with closing(way.spawn(_CRASH)) as instance:
        instance.read_line(_PATIENCE)
        said = "crashing"
        with suppress(Unavailable):  # Linux may crash before its terminal has sent the line
            said = instance.read_line(_PATIENCE)[1]
        if said != "crashing":
            raise Unavailable("its kernel may not be crashed", "try its command")
        if instance.wait(_PATIENCE) == 0:
            raise Unavailable("its kernel doesn't crash", "try its command")


def _number(instance: Instance, name: str) -> int:
    """Returns the number `name` of the next line."""
    return value(numbers(instance.read_line(_PATIENCE)[1]), name)


def _meaning(medians: Mapping[str, float], what: str) -> str:
    if not medians:
        return f"None was tried beside {what}."
    return f"Beside {what}, work goes on at {listed(medians, 'percent')} of its rate alone."


_HOW = (
    "The rate of a loop (steps for each cycle of the time-stamp counter) while {what}, in percent "
    "of its rate alone, right before. A percentage says that it lived."
)
_BOMB_ROW = Row(
    "bomb",
    "work beside a fork bomb",
    "percent",
    "higher",
    _HOW.format(what="a neighbour within limits (64 processes; a VM: its memory) forks all it can"),
    lambda medians: _meaning(medians, "a fork bomb within limits"),
)
_CRASH_ROW = Row(
    "crash",
    "work beside a kernel that crashes",
    "percent",
    "higher",
    _HOW.format(what="a neighbour starts and crashes its kernel"),
    lambda medians: _meaning(medians, "a neighbour's kernel that crashes"),
)
