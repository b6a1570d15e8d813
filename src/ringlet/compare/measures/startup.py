"""Measures the time until the workload runs, writes a line, and has ended.

The workload is started as a command, and from this process.
"""

from __future__ import annotations

import shlex
from contextlib import closing

from ringlet.compare.instances import Request, Unavailable
from ringlet.compare.instances.work_output import numbers, value
from ringlet.compare.lab import ringlet_command
from ringlet.compare.measures import Found, Row
from ringlet.compare.sentences import compare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ringlet.compare.instances import Instance
    from ringlet.compare.lab import Lab
    from ringlet.compare.ways import Way

_REQUEST = Request(["start"])
_PATIENCE = 60  # seconds
_MILLISECOND = 1e6  # nanoseconds

_HOW = {
    "command": "From right before the whole command is started",
    "inside": "From right before a process that is running already asks for it",
}
_UNTIL = {
    "first-instruction": (
        "to its first instruction",
        "to the arrival of the first line, less the time-stamp counter's ticks between the "
        "workload's first instruction and that line.",
        "getting to the first instruction",
    ),
    "first-output": (
        "to its first output",
        "until the workload's first line has arrived through a pipe.",
        "getting to the first line of output",
    ),
    "end": (
        "to its end",
        "until its end is seen: the workload writes one line and exits.",
        "the whole run",
    ),
}
_SOFTWARE_KVM = (
    "this KVM emulates a guest's ring 0, so that its boot and its output take longer than on "
    "hardware"
)


class Measure:
    """The time in milliseconds. The time of the whole run has the known steps as its phases."""

    name = "startup"
    group = "startup"
    rounds = None
    seconds = 1.0

    def __init__(self, lab: Lab) -> None:
        self._tsc_hz = lab.tsc_hz
        self.rows = tuple(_row(begin, until) for begin in _HOW for until in _UNTIL)

    def sample(self, way: Way) -> Mapping[str, Found | Exception]:
        """Runs the workload once as a command, and once from this process."""
        itself = [*ringlet_command(), "compare", "--measure", self.name, "--ways", way.name]
        return {
            **self._time("command", way.spawn, way.command(_REQUEST)),
            **self._time("inside", way.launch, itself),
        }

    def _time(
        self, begin: str, start: Callable[[Request], Instance], command: list[str]
    ) -> Mapping[str, Found | Exception]:
        names = [f"{begin}-{until}" for until in _UNTIL]
        try:
            with closing(start(_REQUEST)) as instance:
                steps = self._steps(instance)
        except Unavailable as error:
            return dict.fromkeys(names, error)
        return {
            name: Found(
                steps[until] / _MILLISECOND,
                phases=_parts(steps) if until == "end" else {},
                command=shlex.join(command),
            )
            for name, until in zip(names, _UNTIL, strict=True)
        }

    def _steps(self, instance: Instance) -> dict[str, float]:
        """Returns when each step was over, in nanoseconds from the run's beginning, in order."""
        output, line = instance.read_line(_PATIENCE)
        if status := instance.wait(_PATIENCE):
            raise Unavailable(f"the workload ended with status {status}", "try it")
        told, phases = numbers(line), instance.phases()
        ticks = value(told, "now") - value(told, "first")
        # A line takes time on a serial port: its first byte arrives nearer to the time of writing.
        written = phases.pop("first_output", output)
        steps = {name.replace("_", " "): at for name, at in phases.items()}
        steps["first-instruction"] = written - round(ticks / self._tsc_hz * 1e9)
        steps["first-output"] = output
        assert instance.ended is not None
        steps["end"] = max(instance.ended, output)  # in this process, the end may be seen first
        ordered = sorted(steps.items(), key=lambda step: step[1])
        return {name: at - instance.began for name, at in ordered}


def _parts(steps: Mapping[str, float]) -> dict[str, float]:
    """Returns how long each step took, in milliseconds."""
    parts = {}
    before = 0.0
    for name, at in steps.items():
        parts[name.replace("-", " ")] = (at - before) / _MILLISECOND
        before = at
    return parts


def _row(begin: str, until: str) -> Row:
    title, how, what = _UNTIL[until]
    inside = begin == "inside"
    where = "In a running process, " if inside else "As a command, "
    return Row(
        f"{begin}-{until}",
        f"in a process, {title}" if inside else f"a command, {title}",
        "ms",
        "lower",
        f"{_HOW[begin]} {how}",
        lambda medians: compare(medians, "ms", where + what),
        _SOFTWARE_KVM,
    )
