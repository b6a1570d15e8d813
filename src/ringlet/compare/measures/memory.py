"""Measures the host's memory for an instance: alone and among many, idle and at work."""

from __future__ import annotations

import shlex
import time
from contextlib import closing
from statistics import median
from subprocess import DEVNULL, PIPE, Popen

from ringlet.compare.instances import MIB, Request
from ringlet.compare.instances.crowd import Crowd
from ringlet.compare.instances.footprint import KIB, available, footprint, kvm_page_tables
from ringlet.compare.measures import Found, Row
from ringlet.compare.sentences import listed, of_own_kernel
from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ringlet.compare.instances import Instance
    from ringlet.compare.lab import Lab
    from ringlet.compare.ways import Way

MOST = 100
TOUCHED = 32  # MiB, of the 64 that an instance may have
_IDLE = Request(["wait"])
_USED = Request(["touch", str(TOUCHED)])
_PATIENCE = 120  # seconds, for a kernel to boot
_READINGS = 5
_PAUSE = 0.01  # seconds between two readings


class Measure:
    """The memory in MiB and KiB. An instance is the whole command, as a reader can start it."""

    name = "memory"
    group = "memory"
    rounds = 3
    seconds = 4.0

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        most = max(1, min(lab.settings.most_instances, MOST))
        self._counts = sorted({1, min(10, most), most})
        self._own: int | None = None
        self.rows = (
            *map(_each_row, self._counts),
            _kernel_row(most),
            _PAGE_TABLES,
            _IDLE_MEMORY,
            _USED_MEMORY,
        )

    def sample(self, way: Way) -> Mapping[str, Found | Exception]:
        """Measures a growing crowd of idle instances, then a crowd whose instances use memory."""
        found: dict[str, Found] = {}
        reason: Exception = RingletError("it wasn't measured", "look at the rows before")
        for measure in (self._crowd, self._use):
            try:
                measure(way, found)
            except RingletError as error:
                reason = error
        return {row.name: found.get(row.name, reason) for row in self.rows}

    def _crowd(self, way: Way, found: dict[str, Found]) -> None:
        if self._own is None:
            self._own = _workload_alone(self._lab)
        command = shlex.join(way.command(_IDLE))
        free, kvm = _steady(available), kvm_page_tables()
        with Crowd(way, _IDLE, self._lab.settings) as crowd:
            for count in self._counts:
                crowd.grow(count)
                resident, tables = footprint(crowd.processes())
                beyond = max(0.0, resident / count - self._own)
                found[f"each-{count}"] = Found(beyond / MIB, command=command)
                if count == 1:
                    found["idle"] = Found(resident / MIB, _larger(way), command=command)
                guest = max(0, kvm_page_tables() - kvm) if way.own_kernel else 0
                found["page-tables"] = _page_tables(tables / count, guest / count, command)
            during = _steady(available)
        found["total"] = _with_kernel(free, during, _steady(available), count, command)

    def _use(self, way: Way, found: dict[str, Found]) -> None:
        with closing(way.spawn(_USED)) as instance:
            _read_until(instance, "touched")
            taken = footprint(instance.processes()).resident
        command = shlex.join(way.command(_USED))
        found["used"] = Found(taken / MIB, _larger(way), command=command)


def _workload_alone(lab: Lab) -> int:
    """Returns the bytes that the workload takes as a bare process."""
    with Popen([lab.work, *_IDLE.words], stdin=DEVNULL, stdout=PIPE) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            return footprint([process.pid]).resident
        finally:
            process.kill()


def _larger(way: Way) -> str | None:
    if way.least_memory <= _IDLE.memory:
        return None
    return f"its VM needs more, and has {way.least_memory // MIB} MiB"


def _read_until(instance: Instance, word: str) -> None:
    while word not in instance.read_line(_PATIENCE)[1].split():
        pass


def _steady(read: Callable[[], int]) -> float:
    """Returns the median of some readings: the kernel adds each CPU's counters with a delay."""
    readings = []
    for _ in range(_READINGS):
        readings.append(read())
        time.sleep(_PAUSE)
    return median(readings)


def _page_tables(processes: float, guest: float, command: str) -> Found:
    parts = {"of the processes": processes / KIB, "of KVM for the guest": guest / KIB}
    return Found(sum(parts.values()), None, parts if guest else {}, command)


def _with_kernel(before: float, during: float, after: float, count: int, command: str) -> Found:
    taken, drift = (before + after) / 2 - during, abs(before - after) / 2
    note = None
    if drift > 0.1 * abs(taken):
        note = f"whatever else the host did makes that ±{drift / count / MIB:.2f} MiB"
    return Found(taken / count / MIB, note, command=command)


def _each_row(count: int) -> Row:
    def meaning(medians: Mapping[str, float]) -> str:
        around = {name: value for name, value in medians.items() if name != "process"}
        if not around:
            return "A bare process has nothing around it: the others are compared with it."
        if count == 1:
            return f"What is around the work takes {listed(around, 'MiB')}."
        return f"Instances share memory: each of {count} takes {listed(around, 'MiB')}."

    return Row(
        f"each-{count}",
        f"memory beyond the work: {'one alone' if count == 1 else f'each of {count}'}",
        "MiB",
        "lower",
        "Resident pages of all its processes (/proc/PID/smaps), each page once, less what the "
        "workload takes as a bare process; the workload waits.",
        meaning,
    )


def _kernel_row(count: int) -> Row:
    def meaning(medians: Mapping[str, float]) -> str:
        if not medians:
            return "No way could be started as often as that."
        return f"With the kernel's own memory, the host has less by {listed(medians, 'MiB')}."

    return Row(
        "total",
        f"memory that the host has less, for each of {count}",
        "MiB",
        "lower",
        f"MemAvailable (and the free pages in each CPU's lists) before and after, less that with "
        f"{count} at once: the kernel's own memory for them is in it. Medians of five readings.",
        meaning,
    )


def _meaning_of_tables(medians: Mapping[str, float]) -> str:
    if not medians:
        return "No page tables could be read."
    twice = ", and a guest's memory is mapped once more, by KVM" if of_own_kernel(medians) else ""
    return f"Each process around the work has its own{twice}: {listed(medians, 'KiB')}."


_PAGE_TABLES = Row(
    "page-tables",
    "page tables of an instance",
    "KiB",
    "lower",
    "VmPTE of its processes (/proc/PID/status); for a VM with its part of SecPageTables "
    "(/proc/meminfo), where KVM's own are counted. Of as many at once as there were.",
    _meaning_of_tables,
    "this KVM shadows the page tables of a guest, which hardware walks itself",
)


def _meaning_of_idle(medians: Mapping[str, float]) -> str:
    vms = of_own_kernel(medians)
    if not vms:
        return "A process takes memory as it uses it."
    return f"A VM that is given memory doesn't take all of it: {listed(vms, 'MiB')}."


def _meaning_of_used(medians: Mapping[str, float]) -> str:
    if not medians:
        return "None could use its memory."
    return f"A page is taken when the work first touches it: {listed(medians, 'MiB')}."


_IDLE_MEMORY = Row(
    "idle",
    "memory taken of 64 MiB given, idle",
    "MiB",
    "lower",
    "Resident pages of all its processes, each page once, while the workload waits. A VM has "
    "64 MiB configured; a process and a container may have as much as there is.",
    _meaning_of_idle,
)
_USED_MEMORY = Row(
    "used",
    f"memory taken of 64 MiB given, {TOUCHED} MiB in use",
    "MiB",
    "lower",
    f"Resident pages of all its processes, once the workload has touched each of {TOUCHED} MiB.",
    _meaning_of_used,
)
