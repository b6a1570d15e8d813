"""Traces the exits of a machine's vCPUs.

A tracer takes the place of `Vcpu.enter` before the machine runs. So it sees each exit as the vCPU's
loop does: the code of the exit that comes back, and the reply that the loop hands over with the
next call. All this happens on the vCPU's own thread, since only that thread may look at the vCPU.

The tracer itself takes time, too. This time belongs to no exit: it lies between what is counted
before the exit and what is counted after the exit.
"""

from __future__ import annotations

from functools import lru_cache
from math import inf
from threading import Lock
from time import monotonic_ns
from typing import NamedTuple

from ringlet.closing import Closing
from ringlet.errors import RingletError
from ringlet.kvm.core import ffi, lib
from ringlet.kvm.vcpu import KIND_SHIFT, VALUE_MASK
from ringlet.observe.exits.exit_event import EXITS, Exit
from ringlet.observe.exits.kvm_cost import measure
from ringlet.observe.exits.places import PORT_STRING, Places
from ringlet.observe.trace.filters import Filter
from ringlet.observe.trace.summary import Summary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.kvm.vcpu import Vcpu
    from ringlet.machine.machine import Machine
    from ringlet.observe.exits.causes import Cause, CauseFinder
    from ringlet.observe.exits.places import Place
    from ringlet.observe.trace.summary import Times

BATCH = 256  # exits that a vCPU collects before it hands them over
_FUNCTIONS = 4096  # addresses whose symbol is kept
_INTERRUPTED, _INTERNAL_ERROR = lib.RINGLET_EXIT_INTERRUPTED, lib.RINGLET_EXIT_INTERNAL_ERROR


class ExitTracer(Closing):
    """Traces the exits of `machine`, which must not run yet, until the tracer is closed.

    `take` gets the exits in batches, on a vCPU's thread, one batch at a time. A batch comes when
    it has BATCH exits, and at least ten times a second. Without `take`, the exits are only counted
    in `summary`. Raises `RingletError` if the machine has run already.
    """

    def __init__(
        self,
        machine: Machine,
        wanted: Filter | None = None,
        take: Callable[[list[Exit]], object] | None = None,
    ) -> None:
        if machine.control.end is not None or machine.fileno() < 0:
            raise RingletError(
                "this machine has run already, or is closed", "make a new one for each run"
            )
        self.filter = wanted or Filter()
        self.summary = Summary(EXITS)
        self._take = take
        self._lock = Lock()  # one batch at a time
        self._left = self.filter.most  # exits that are still to be shown
        self.is_on = True
        self.cost = measure()
        self.function: Callable[[int], str] = lambda address: ""
        self._finishes: list[Callable[[], None]] = []
        self._watch(machine)
        self.start = monotonic_ns()

    def _watch(self, machine: Machine) -> None:
        """Takes the place of each `Vcpu.enter`. What takes long is done now."""
        places = [
            Places(vcpu, machine.devices, self.filter, self.summary) for vcpu in machine.vm.vcpus
        ]
        if self._take is None:
            for vcpu, of_vcpu in zip(machine.vm.vcpus, places, strict=True):
                vcpu.enter, finish = _counting(self, vcpu, of_vcpu)
                self._finishes.append(finish)
            return
        from ringlet.observe.exits.causes import CauseFinder  # a summary needs no disassembler

        symbols, behind = machine.symbols, self.cost.behind
        self.function = lru_cache(maxsize=_FUNCTIONS)(symbols.describe)
        for vcpu, of_vcpu in zip(machine.vm.vcpus, places, strict=True):
            finder = CauseFinder(vcpu, machine.memory, behind=behind, symbol=symbols.at)
            self._finishes.append(_Watch(self, vcpu, of_vcpu, finder).finish)

    @property
    def shows_more(self) -> bool:
        """Whether fewer exits were shown than the filter wants."""
        return self._left > 0

    def hand_over(self, exits: list[Exit]) -> None:
        """Gives a batch to `take`, but no more exits than the filter wants."""
        assert self._take is not None
        with self._lock:
            if self._left < len(exits):
                del exits[int(self._left) :]
            self._left -= len(exits)
            if exits:
                self._take(exits)

    def finish(self) -> None:
        """Hands over the last exits, after the end of the run, and closes the tracer."""
        for finish in self._finishes:
            finish()
        self.close()

    def close(self) -> None:
        """Ends the trace; the machine may go on. A second call does nothing."""
        if self.is_on:
            self.is_on = False
            self.summary.seconds = (monotonic_ns() - self.start) / 1e9


def _counting(
    tracer: ExitTracer, vcpu: Vcpu, places: Places
) -> tuple[Callable[[int], int], Callable[[], None]]:
    """Returns what takes the place of `vcpu.enter` if exits are only counted; and the end of it."""
    enter, native, find, wanted = vcpu.enter, vcpu.native, places.find, tracer.filter
    any_time = wanted.since == 0 and wanted.until == inf
    kvm, left = tracer.cost.nanoseconds, 0
    times: Times | None = None

    def count(reply: int) -> int:
        nonlocal times, left
        if times is not None:
            times.add(monotonic_ns() - left + kvm)
        code = enter(reply)
        left = monotonic_ns()
        place = find(code)
        times = place.times if place.wanted and tracer.is_on else None
        if not any_time and not wanted.admits_time((left - tracer.start) / 1e9):
            times = None
        if native.delayed and times is not None:  # a write that made no exit of its own
            left += kvm
        return code

    def finish() -> None:  # the last exit has no end that could be measured
        nonlocal times
        if times is not None:
            times.add(kvm)
            times = None

    return count, finish


class _Left(NamedTuple):
    """An exit whose answer isn't known yet; times in nanoseconds."""

    place: Place
    time: int
    guest: int
    kvm: int
    cause: Cause | None
    register: str | None
    value: int | None
    repeats: int | None  # of a string instruction


class _Watch:
    """Takes the place of the `enter` of one vCPU."""

    def __init__(self, tracer: ExitTracer, vcpu: Vcpu, places: Places, finder: CauseFinder) -> None:
        self._tracer = tracer
        self._vcpu = vcpu.number
        self._native = vcpu.native
        self._places = places
        self._finder = finder
        self._enter = vcpu.enter
        self._exits: list[Exit] = []
        self._pending: _Left | None = None
        self._resumed = 0  # when the vCPU's loop got the last exit
        self._carried = 0  # nanoseconds in the guest before writes that made no exit
        vcpu.enter = self.enter

    def enter(self, reply: int) -> int:
        """Runs the guest to its next exit, as `Vcpu.enter` does."""
        entered = monotonic_ns()
        if self._pending is not None:
            self._complete(self._pending, reply, entered - self._resumed)
            self._pending = None
        if not self._tracer.is_on:
            return self._enter(reply)
        begin = monotonic_ns()
        code = self._enter(reply)
        left = monotonic_ns()
        self._pending = self._examine(code, left, left - begin)
        self._resumed = monotonic_ns()
        return code

    def _examine(self, code: int, left: int, took: int) -> _Left | None:
        """Notes what can be seen only now of the exit that has just happened."""
        native, tracer, kind = self._native, self._tracer, code >> KIND_SHIFT
        if kind == _INTERRUPTED:  # at least ten times a second
            self._finder.forget()
            self._hand_over()
        # KVM gathers some writes: they come before the exit that ends the run of the guest, and
        # nobody knows which instructions they were.
        gathered = native.delayed != 0
        took += self._carried
        self._carried = took if gathered else 0
        place = self._places.find(code)
        wanted = place.wanted and tracer.filter.admits_time((left - tracer.start) / 1e9)
        if not wanted:
            return None
        kvm = 0 if gathered else min(took, tracer.cost.nanoseconds)
        guest = 0 if gathered else took - kvm
        if not tracer.shows_more:
            return _Left(place, left, guest, kvm, None, None, None, None)
        access, cause, value, count = place.access, None, None, None
        if access is not None:
            if not gathered:
                cause = self._finder.find(access)
            if kind == PORT_STRING:
                count = native.count
            elif access.write:
                value = code & VALUE_MASK
                if access.size > 4:
                    value = int.from_bytes(ffi.buffer(native.data, access.size), "little")
        elif kind == _INTERNAL_ERROR:
            cause = self._finder.at_rip()
        return _Left(place, left, guest, kvm, cause, place.register(), value, count)

    def _complete(self, exit: _Left, reply: int | None, python: int | None) -> None:
        """Notes an exit that the vCPU's loop has handled; None: the run ended before that."""
        place, time, guest, kvm, cause, register, value, count = exit
        tracer, access = self._tracer, place.access
        place.times.add(kvm + (python or 0))
        if not tracer.shows_more:
            return
        if count is None and access is not None and not access.write and reply is not None:
            value = reply & (1 << 8 * access.size) - 1
        self._exits.append(
            Exit(
                **place.fields,
                time=(time - tracer.start) / 1e9,
                vcpu=self._vcpu,
                count=count,
                value=value,
                register=register,
                instruction=None if cause is None else cause.text,
                rip=None if cause is None else cause.address,
                function=None if cause is None else tracer.function(cause.address) or None,
                guest=guest / 1e9,
                kvm=kvm / 1e9,
                python=None if python is None else python / 1e9,
            )
        )
        if len(self._exits) >= BATCH:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._exits:
            exits, self._exits = self._exits, []
            self._tracer.hand_over(exits)

    def finish(self) -> None:
        """Hands over the rest. The vCPU's loop must have ended."""
        if self._pending is not None:
            self._complete(self._pending, None, None)
            self._pending = None
        self._hand_over()
