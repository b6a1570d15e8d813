"""All vCPUs of a machine stop together and go on together: the engine of the debugger.

Each vCPU's thread comes by here (`Watched.enter`). The first vCPU with a reason to stop halts the
others; the stop is reached when the last one has parked. Then the breakpoints are taken out of
memory. A second vCPU's reason for a stop, from the same time, is kept for the next time.

To go on takes phases. First each vCPU that stands at a breakpoint makes a step, while the others
stand still and no breakpoint is in memory. Then the breakpoints are put into memory, and all go.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from select import POLLIN, poll
from threading import Condition, RLock

from ringlet.errors import RingletError
from ringlet.host.descriptor import eventfds
from ringlet.kvm.core import ffi
from ringlet.kvm.exits import EMULATION_FAILURE, Debug, Halt, InternalError, Shutdown, SystemEvent
from ringlet.kvm.memory import PAGE
from ringlet.kvm.vcpu import (
    DEBUG_BLOCK_INTERRUPTS,
    DEBUG_ENABLE,
    DEBUG_HARDWARE,
    DEBUG_SOFTWARE,
    DEBUG_STEP,
)
from ringlet.machine.control import TIMEOUT
from ringlet.observe.debug.debug_registers import COUNT, DR6_STEP, EXECUTE, Watch, hits
from ringlet.observe.debug.step import Step
from ringlet.observe.debug.stop import (
    BREAKPOINT,
    CRASH,
    END,
    EXIT,
    INTERRUPT,
    START,
    STEP,
    WATCHPOINT,
    Stop,
)
from ringlet.observe.debug.watched import Watched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.kvm.exits import Exit
    from ringlet.machine.machine import Machine
    from ringlet.observe.debug.abilities import Abilities
    from ringlet.observe.debug.breakpoints import Breakpoints

_BP_VECTOR = 3
_LOOK_INTERVAL = 0.05  # seconds: how often a wait looks for the end of the run
_MASK = 0xFFFF_FFFF_FFFF_FFFF
_UNGUARDED = (
    "KVM can't emulate the next instruction on the page of a watchpoint: no more watchpoint"
)
_UNSEEN = "ring 3 ran meanwhile, which this host's KVM can't step"


class AllStop:
    """Runs and stops the vCPUs of `machine`, which has not started.

    abilities    what this host's KVM can do
    breakpoints  what to stop at; changed only while all vCPUs stand still
    running      whether the machine starts running, not stopped
    """

    def __init__(
        self, machine: Machine, abilities: Abilities, breakpoints: Breakpoints, *, running: bool
    ) -> None:
        self.machine = machine
        self._abilities = abilities
        self._breakpoints = breakpoints
        self.wants_exit = False  # whether the next VM exit is a stop
        self.lock = Condition(RLock())
        self._stop = None if running else Stop(START)
        self._is_still = False
        self._attached = not running  # whether somebody waits for stops
        self._later: list[tuple[Watched, Stop]] = []  # stops that came with another one
        self._plan: list[Watched] = []  # those that step off a breakpoint before all go on
        self._stepper: Watched | None = None
        self._alone = False
        self._protected: set[int] = set()  # pages that the guest may not write to
        self._ran = 0.0  # seconds that the guest has run
        self._since = time.monotonic()
        self._timeout = machine.take_timeout()
        (self._stop_fd,) = eventfds(0, flags=os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ended_fd = os.dup(machine.control.ended_fd)
        self.watched = [Watched(self, vcpu, halt=not running) for vcpu in machine.vm.vcpus]

    # What the debugger asks.

    def stop(self) -> None:
        """Asks all vCPUs to stop, which `wait` waits for."""
        with self.lock:
            self._attached = True
            if self._stop is None:
                self._halt(Stop(INTERRUPT))

    def wait(self, timeout: float | None = None) -> Stop | None:
        """Waits until the guest stands still; None if it doesn't within `timeout` seconds."""
        waiting = poll()
        for fd in self.filenos():
            waiting.register(fd, POLLIN)
        ready = waiting.poll(None if timeout is None else timeout * 1000)
        return self.stopped if ready else None

    @property
    def stopped(self) -> Stop | None:
        """The stop at which the guest stands still, or None while the guest runs."""
        if self.machine.control.has_ended:
            end = self.machine.control.end
            return Stop(END, detail="" if end is None else end.reason)
        with self.lock:
            return self._stop if self._is_still else None

    def filenos(self) -> tuple[int, int]:
        """Returns descriptors to poll: one is readable when the guest stopped, one at the end."""
        return self._stop_fd, self._ended_fd

    def at_rest(self, vcpu: int) -> Watched:
        """Returns a vCPU that stands still. Raises `RingletError` while the guest runs."""
        if self.machine.control.end is not None:
            raise RingletError("the run is over", "nothing of the guest is left to look at")
        if self.machine.has_started and not self._is_still:
            raise RingletError("the guest runs", "call stop(), and then wait()")
        if not 0 <= vcpu < len(self.watched):
            raise RingletError(f"there is no vCPU {vcpu}", f"the last is {len(self.watched) - 1}")
        return self.watched[vcpu]

    def go(
        self, stepper: Watched | None = None, *, alone: bool = False, exits: bool = False
    ) -> None:
        """Lets the vCPUs go on: all, of which `stepper` makes one step, or `stepper` `alone`.

        With `exits`, the next VM exit is a stop.
        """
        with self.lock:
            if not self._is_still or self.machine.control.end is not None:
                self.at_rest(0)
                raise RingletError("the guest can't go on", "start the machine, and wait first")
            os.eventfd_read(self._stop_fd)
            while self._later:
                watched, stop = self._later.pop(0)
                if self._still_counts(watched, stop, exits=exits):
                    self._stop = stop
                    os.eventfd_write(self._stop_fd, 1)
                    return
            self._is_still = False
            self._stop = None
            self.wants_exit = exits
            self._since = time.monotonic()
            if (pages := self._breakpoints.guarded_pages) != self._protected:
                self.machine.vm.protect(pages)
                self._protected = pages
            self._stepper = stepper
            self._alone = alone or (
                stepper is not None and self._breakpoints.covers(stepper.address)
            )
            if not self._alone:
                others = (each for each in self.watched if each is not stepper)
                self._plan = [each for each in others if self._breakpoints.covers(each.address)]
            self._next_phase()

    def detach(self) -> None:
        """Removes all breakpoints, and lets the guest go on. No crash is a stop any more."""
        if not self.machine.has_started:
            self._stop, self._attached = None, False
            for watched in self.watched:
                watched.halt = False
            return
        self.stop()
        self.wait()
        with self.lock:
            self._breakpoints.clear()
            self._later.clear()
            self._attached = False
            with suppress(RingletError):  # the run is over, or just about to end
                self.go()

    def close(self) -> None:
        """Detaches, and closes the descriptors. A second call does nothing."""
        if self._stop_fd < 0:
            return
        self.detach()
        with self.lock:
            self.lock.wait_for(lambda: not any(watched.waits for watched in self.watched))
        for watched in self.watched:
            watched.close()
        os.close(self._stop_fd)
        os.close(self._ended_fd)
        self._stop_fd = -1

    # What the vCPUs' own threads call.

    def examine(self, watched: Watched, kind: int) -> bool:
        """Looks at an exit that no device answers; returns whether the vCPU shall go on."""
        exit = watched.vcpu.exit(kind << 56)
        if isinstance(exit, Debug):
            self._debug_exit(watched, exit)
            return True
        if isinstance(exit, InternalError) and self._breakpoints.guarded_pages:
            # KVM's emulator, which does the writes to a guarded page, can't do all.
            self._breakpoints.clear_guards()
            self.report(watched, Stop(INTERRUPT, detail=_UNGUARDED))
            watched.forget_exception()
            return True
        if not isinstance(exit, (Halt, SystemEvent)):  # those are no crashes, but ends
            self.crash(watched, _crash(exit), exit)
        return False

    def crash(self, watched: Watched, what: str, exit: Exit | None = None) -> None:
        """Stops before a crash ends the run, and returns once the guest shall go on to its end."""
        with self.lock:
            if not self._attached:
                return
            self.report(watched, Stop(CRASH, exit=exit, detail=what))
        watched.park()

    def report(self, watched: Watched, stop: Stop) -> None:
        """Makes all vCPUs stop because of `stop` of this vCPU."""
        with self.lock:
            watched.halt = True
            stop = stop._replace(vcpu=watched.vcpu.number, address=watched.address)
            if self._stop is None:
                self._halt(stop)
            elif self._stop.reason == INTERRUPT:
                self._stop = stop  # nothing is lost to whoever asked for a stop
            else:
                self._later.append((watched, stop))

    def is_trap(self, watched: Watched, behind: int = 0) -> bool:
        """Returns whether a breakpoint stands `behind` bytes before the next instruction."""
        address = watched.address - behind
        return self._breakpoints.is_planted(watched.vcpu.translate(address & _MASK))

    def writes_guarded(self, watched: Watched) -> bool:
        """Does a write to a guarded page in the guest's place; returns whether it was one."""
        native = watched.vcpu.native
        address, size = int(native.address), int(native.size)
        if not native.write or address - address % PAGE not in self._protected:
            return False
        watched.written = self._breakpoints.guarded_by(address, size)
        if watched.written is not None:
            self._halt_others(watched)
        self.machine.memory.write(address, bytes(ffi.buffer(native.data, size)))
        return True

    def _halt_others(self, watched: Watched) -> None:
        """Halts the other vCPUs before they see what this vCPU writes to a guarded range."""
        others = [each for each in self.watched if each is not watched]
        with self.lock:
            if self._stop is not None:
                return  # they are being halted
            self._halt(Stop(WATCHPOINT, vcpu=watched.vcpu.number, data=watched.written))
            while self.machine.control.end is None and not all(each.parked for each in others):
                self.lock.wait(_LOOK_INTERVAL)

    def meets_watch(self, watched: Watched) -> None:
        """Notes that a vCPU's write to a guarded range is complete."""
        stop = Stop(WATCHPOINT, vcpu=watched.vcpu.number, data=watched.written)
        watched.written = None
        with self.lock:
            if self._stop == stop:
                self._stop = stop._replace(address=watched.address)
            else:
                self.report(watched, stop)

    def meets_trap(self, watched: Watched) -> None:
        """Notes that a vCPU has come to a breakpoint, or a step to an exception's handler."""
        if watched.step is not None:
            watched.step.forget_trap_flag(at_handler=True)
            self.step_done(watched)
        else:
            self.report(watched, Stop(BREAKPOINT))

    def step_done(self, watched: Watched) -> None:
        """Notes that a vCPU has made its step."""
        if watched.off:
            watched.halt = True  # it parks, and the next phase begins
        else:
            unseen = watched.step is not None and watched.step.goes_to_ring_3
            unseen = unseen and not self._abilities.step_ring_3
            self.report(watched, Stop(STEP, detail=_UNSEEN if unseen else ""))

    def parked(self, watched: Watched) -> None:
        """Notes that a vCPU stands still, unless somebody has let it go in between."""
        with self.lock:
            watched.parked = watched.halt
            self.lock.notify_all()
            if not self._is_still and all(each.parked for each in self.watched):
                if self._stop is None:
                    self._next_phase()
                else:
                    self._stand_still(self._stop)

    def unparked(self, watched: Watched) -> None:
        """Notes that a vCPU's thread waits no more."""
        with self.lock:
            watched.waits = False
            self.lock.notify_all()

    def look_at_clock(self) -> None:
        """Ends the run if the guest has run for longer than the configuration's timeout."""
        ran = self._ran + time.monotonic() - self._since
        if self._timeout is not None and ran > self._timeout:
            self.machine.control.finish(TIMEOUT)

    # Going on and standing still. The lock is held.

    def _still_counts(self, watched: Watched, stop: Stop, *, exits: bool) -> bool:
        """Returns whether a stop that came together with the last one is still one."""
        if stop.reason == BREAKPOINT:
            return watched.address in self._breakpoints
        return stop.reason != STEP and (exits or stop.reason != EXIT)

    def _next_phase(self) -> None:
        """Lets the next vCPU step off its breakpoint, or else all go on."""
        self._breakpoints.lift()
        if self._plan:
            going = [self._plan.pop()]
            self._arm(going[0], step=True, alone=True)
            going[0].off = True
        else:
            going = [self._stepper] if self._alone and self._stepper else self.watched
            if not self._alone:
                self._breakpoints.plant()
            for watched in going:
                self._arm(watched, step=watched is self._stepper, alone=self._alone)
        for watched in going:
            watched.release()

    def _plant_at(self, watched: Watched, handlers: list[int]) -> None:
        size = len(self._breakpoints.trap)
        memory = self.machine.memory
        places: list[tuple[int, ...]] = []
        for address in handlers:
            found = [watched.vcpu.translate(address + number & _MASK) for number in range(size)]
            if all(each is not None and memory.has(each, 1) for each in found):
                places.append(tuple(each for each in found if each is not None))
        self._breakpoints.plant(places)

    def _arm(self, watched: Watched, *, step: bool, alone: bool = False) -> None:
        """Tells KVM how to debug a vCPU. A step doesn't meet the breakpoint that it begins at."""
        watches = self._breakpoints.watches
        control = DEBUG_SOFTWARE if self._breakpoints.has_traps and self._abilities.trap else 0
        watched.step = None
        if step:
            control = DEBUG_STEP
            control |= DEBUG_BLOCK_INTERRUPTS if self._abilities.block_interrupts else 0
            watched.step = Step(watched.vcpu, self.machine.memory)
            # The address of an exception's handler: the instruction may not come to its end.
            watches = [each for each in watches if each.condition != EXECUTE]
            handlers = watched.step.handlers()
            if self._abilities.execute:
                free = COUNT - len(watches)
                watches = [*watches, *(Watch(each, 1, EXECUTE) for each in handlers[:free])]
            elif alone:
                self._plant_at(watched, handlers)
        control |= DEBUG_HARDWARE if watches else 0
        watched.arm(control and control | DEBUG_ENABLE, watches)
        watched.off = False
        watched.exit = watched.written = None

    def _halt(self, stop: Stop) -> None:
        """Makes all vCPUs stop. `stop` is the reason."""
        self._stop = stop
        self._plan.clear()
        for watched in self.watched:
            watched.halt = True
            if not watched.parked:
                watched.vcpu.kick()

    def _stand_still(self, stop: Stop) -> None:
        """Notes that the last vCPU has stopped."""
        self._breakpoints.lift()
        self.wants_exit = False
        self._ran += time.monotonic() - self._since
        if stop.reason in (START, INTERRUPT):
            self._stop = stop._replace(address=self.watched[stop.vcpu].address)
        self._is_still = True
        os.eventfd_write(self._stop_fd, 1)

    def _debug_exit(self, watched: Watched, exit: Debug) -> None:
        if watched.written is not None:
            self.meets_watch(watched)
            return
        if exit.exception == _BP_VECTOR:
            if self.is_trap(watched):
                self.meets_trap(watched)
            else:  # the guest's own
                watched.inject_breakpoint()
            return
        met = hits(exit.dr6, watched.watches)
        data = [each.address for each in met if each.condition != EXECUTE]
        if data:
            self.report(watched, Stop(WATCHPOINT, data=data[0]))
        elif watched.step is not None:
            # A jump to the handler is a step, too, but leaves nothing on the stack.
            watched.step.forget_trap_flag(at_handler=bool(met) and not exit.dr6 & DR6_STEP)
            self.step_done(watched)
        elif met:
            self.report(watched, Stop(BREAKPOINT))
        else:
            watched.inject_debug(exit.dr6)


def _crash(exit: Exit) -> str:
    if isinstance(exit, Shutdown):
        return "triple fault"
    if isinstance(exit, InternalError) and exit.suberror == EMULATION_FAILURE:
        return "KVM can't emulate the instruction"
    return f"KVM: {exit}"
