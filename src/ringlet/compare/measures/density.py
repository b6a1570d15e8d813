"""Measures how many instances start in a second, and how many can run at once."""

from __future__ import annotations

import os
import shlex
import time
from collections import deque
from contextlib import ExitStack

from ringlet.compare.instances import Request, Unavailable
from ringlet.compare.instances.crowd import Crowd, Full
from ringlet.compare.measures import Found, Row
from ringlet.compare.sentences import called, joined, listed, started
from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringlet.compare.instances import Instance
    from ringlet.compare.lab import Lab
    from ringlet.compare.ways import Way

_SECONDS = 1.0  # the time in which instances are started
_PATIENCE = 120  # seconds, for a kernel to boot
_START = Request(["start"])
_WAIT = Request(["wait"])
_SOFTWARE_KVM = "this KVM emulates a guest's ring 0: it boots slower than on hardware"


class Measure:
    """The density of instances: whole commands, within the memory that the settings allow."""

    name = "density"
    group = "density"
    rounds = 1
    seconds = 8.0

    def __init__(self, lab: Lab) -> None:
        self._settings = lab.settings
        self._at_once = os.cpu_count() or 1
        self.rows = (
            Row(
                "rate",
                "starts in a second, one after another",
                "1/s",
                "higher",
                f"Begun, its first line read, and its end awaited, again and again for "
                f"{_SECONDS:g} s.",
                lambda medians: _compared(medians, "One after another"),
                _SOFTWARE_KVM,
            ),
            Row(
                "rate-at-once",
                "starts in a second, side by side",
                "1/s",
                "higher",
                f"The same with {self._at_once} at any time, as many as there are processors; "
                "one process starts them all.",
                lambda medians: _compared(medians, "In parallel"),
                _SOFTWARE_KVM,
            ),
            Row(
                "most",
                "instances at once",
                "",
                "higher",
                f"Idle ones, started until the host says no, or there are "
                f"{self._settings.most_instances} (--instances). What they will take is told from "
                f"the first one: not more than {self._settings.memory_share:.0%} of the memory "
                "that is free.",
                self._meaning_of_most,
            ),
        )

    def sample(self, way: Way) -> Mapping[str, Found | Exception]:
        """Takes the three samples one after another."""
        found: dict[str, Found | Exception] = {}
        command = shlex.join(way.command(_START))
        for name, at_once in (("rate", 1), ("rate-at-once", self._at_once)):
            try:
                found[name] = Found(_rate(way, at_once), command=command)
            except (RingletError, OSError) as error:
                found[name] = error
        try:
            found["most"] = self._most(way)
        except RingletError as error:
            found["most"] = error
        return found

    def _most(self, way: Way) -> Found:
        bound = self._settings.most_instances
        note = f"stopped at the bound of {bound}"
        with Crowd(way, _WAIT, self._settings) as crowd:
            try:
                crowd.grow(bound)
            except Full as error:
                if not crowd.instances:
                    raise
                note = f"then: {error.message}"
            return Found(float(len(crowd.instances)), note, command=shlex.join(way.command(_WAIT)))

    def _meaning_of_most(self, medians: Mapping[str, float]) -> str:
        bound = self._settings.most_instances
        fewer = {name: most for name, most in medians.items() if most < bound}
        if not medians:
            return "None was tried at once."
        if not fewer:
            names = joined([called(name) for name in medians])
            return f"This host runs {bound} at once of each: {names}."
        return f"There were fewer than {bound} at once: {listed(fewer)}."


def _rate(way: Way, at_once: int) -> float:
    """Returns the starts in a second. The oldest running instance is always waited for first."""
    count = 0
    under_way: deque[Instance] = deque()
    with ExitStack() as stack:  # closes the others if one fails
        began = time.monotonic()
        while True:
            while len(under_way) < at_once and time.monotonic() - began < _SECONDS:
                under_way.append(way.spawn(_START))
                stack.callback(under_way[-1].close)
            if not under_way:
                return count / (time.monotonic() - began)
            instance = under_way.popleft()
            instance.read_line(_PATIENCE)
            if status := instance.wait(_PATIENCE):
                raise Unavailable(f"one ended with status {status}", "try its command")
            instance.close()
            count += 1


def _compared(medians: Mapping[str, float], how: str) -> str:
    if not medians:
        return "None could be started."
    return f"{how}: {started(medians)} start per second."
