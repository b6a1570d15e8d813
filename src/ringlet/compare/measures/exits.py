"""Measures the cost of leaving the workload: to its kernel, and to the VMM."""

from __future__ import annotations

import shlex

from ringlet.compare.instances import Request, Unavailable
from ringlet.compare.instances.work_output import outcomes, value
from ringlet.compare.measures import Found, Row
from ringlet.compare.sentences import called, compare, joined
from ringlet.compare.words import quantity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringlet.compare.lab import Lab
    from ringlet.compare.ways import Way

_CALLS, _EXITS = 10_000, 3_000
_CALL = ["syscall", str(_CALLS)]
_EXIT = ["exit", str(_EXITS), "vm"]
_NO_VMM = Unavailable("there is no VMM to exit to", "a system call goes to the host's kernel")


class Measure:
    """The time of a system call in nanoseconds, and of an exit in microseconds."""

    name = "exits"
    group = "exits"
    rounds = 6
    seconds = 0.5

    def __init__(self, lab: Lab) -> None:
        self._tsc_hz = lab.tsc_hz
        self.rows = (_CALL_ROW, _EXIT_ROW)

    def sample(self, way: Way) -> Mapping[str, Found | Exception]:
        """Runs the workload once. No port is read without a VM: the port would be the host's."""
        request = Request([*_CALL, *_EXIT] if way.own_kernel else _CALL)
        command = shlex.join(way.command(request))
        results = outcomes(way, request, 1 + way.own_kernel)
        seconds = [value(result, "cycles") / self._tsc_hz for result in results]
        found: dict[str, Found | Exception] = {
            _CALL_ROW.name: Found(seconds[0] / _CALLS * 1e9, command=command),
            _EXIT_ROW.name: _NO_VMM,
        }
        if way.own_kernel:
            found[_EXIT_ROW.name] = Found(seconds[1] / _EXITS * 1e6, command=command)
        return found


def _meaning_of_exit(medians: Mapping[str, float]) -> str:
    if not medians:
        return "Without a VM there is no VMM to exit to."
    parts = [f"{quantity(median, 'us')} in {called(name)}" for name, median in medians.items()]
    return f"An exit to the VMM and back takes {joined(parts)}."


_CALL_ROW = Row(
    "system-call",
    "a system call",
    "ns",
    "lower",
    f"Cycles of the time-stamp counter that {_CALLS:,} calls of getppid take the workload, one "
    "after another. Each goes to the kernel that the workload runs on: the host's, or the VM's.",
    lambda medians: compare(medians, "ns", "a system call"),
    "this KVM emulates a guest's ring 0: on hardware, a VM's system calls don't leave it",
)
_EXIT_ROW = Row(
    "exit",
    "a VM exit",
    "us",
    "lower",
    f"Cycles that {_EXITS:,} one-byte reads of COM1's scratch register (port 0x3ff) take, which "
    "the VMM emulates, one after another.",
    _meaning_of_exit,
    "this KVM emulates the instruction that exits, and has no hardware's exit",
)
