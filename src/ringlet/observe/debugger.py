"""Debugs a machine from another thread: stops, steps, breakpoints, registers, memory.

    with Machine(MachineConfig(image="hello")) as machine, ringlet.debug(machine) as debugger:
        machine.start()
        debugger.wait()  # at the first instruction
        debugger.add_breakpoint("print")
        debugger.continue_()
        print(debugger.wait())

All vCPUs stop together, and go on together; a step may be one vCPU's alone. A breakpoint at the
next instruction isn't met again: the vCPU first steps off it, while the others stand still.

What the guest itself has of `int3` and debug registers stays the guest's; its own debug registers
rest while a hardware breakpoint or a watchpoint is set. What this host's KVM can't do is refused.
"""

from __future__ import annotations

import os
import time
from select import POLLIN, poll
from threading import Condition, RLock

from ringlet.closing import Closing
from ringlet.errors import RingletError, near
from ringlet.host.descriptor import eventfds
from ringlet.kvm.exits import EMULATION_FAILURE, Debug, Halt, InternalError, Shutdown, SystemEvent
from ringlet.kvm.memory import GuestMemoryError
from ringlet.kvm.vcpu import (
    DEBUG_BLOCK_INTERRUPTS,
    DEBUG_ENABLE,
    DEBUG_HARDWARE,
    DEBUG_INJECT_BP,
    DEBUG_INJECT_DB,
    DEBUG_SOFTWARE,
    DEBUG_STEP,
)
from ringlet.machine.assembly import read_linear
from ringlet.machine.control import TIMEOUT
from ringlet.observe.abilities import find_abilities
from ringlet.observe.debug_registers import (
    ACCESS,
    COUNT,
    EXECUTE,
    WRITE,
    NoDebugRegisterError,
    Watch,
    hits,
    pieces,
)
from ringlet.observe.software_breakpoints import SoftwareBreakpoints
from ringlet.observe.stop import (
    BREAKPOINT,
    CRASH,
    END,
    INTERRUPT,
    START,
    STEP,
    WATCHPOINT,
    Stop,
)
from ringlet.observe.watched import Watched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringlet.boot.symbols import Symbols
    from ringlet.kvm.exits import Exit
    from ringlet.kvm.registers import Registers, SpecialRegisters
    from ringlet.machine.machine import Machine
    from ringlet.observe.abilities import Abilities

_BP_VECTOR = 3
_PAGE = 4096
_MASK = 0xFFFF_FFFF_FFFF_FFFF


class Debugger(Closing):
    """Debugs `machine`, which must not have started. Close it before the machine.

    One thread at a time may use it, other than the machine's own; `stop` any thread. A machine that
    is debugged starts stopped: the first `wait` returns at the first instruction.

    abilities  what this host's KVM can do
    running    whether the machine starts running instead
    """

    def __init__(self, machine: Machine, *, running: bool = False) -> None:
        if machine.has_started:
            raise RingletError(
                "this machine has started already", "make the debugger before the machine starts"
            )
        self.machine = machine
        self.abilities: Abilities = find_abilities()
        self.wants_exit = False  # whether the next VM exit is a stop
        self._lock = Condition(RLock())
        self._software = SoftwareBreakpoints(machine.memory)
        self._hardware: list[Watch] = []
        self._stop: Stop | None = Stop(START)
        self._is_still = False
        self._later: list[tuple[Watched, Stop]] = []  # stops that came with another one
        self._plan: list[Watched] = []  # those that step off a breakpoint before all go on
        self._stepper: Watched | None = None
        self._alone = False
        self._ran = 0.0  # seconds that the guest has run
        self._since = time.monotonic()
        self._timeout = machine.take_timeout()
        (self._stop_fd,) = eventfds(0, flags=os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ended_fd = os.dup(machine.control.ended_fd)
        self._watched = [Watched(self, vcpu) for vcpu in machine.vm.vcpus]
        if running:
            self._stop = None
            for watched in self._watched:
                watched.halt = False

    # What a program asks.

    def stop(self) -> None:
        """Asks all vCPUs to stop, which `wait` waits for. Any thread may call this."""
        with self._lock:
            if self._stop is None:
                self._halt(Stop(INTERRUPT))

    def wait(self, timeout: float | None = None) -> Stop | None:
        """Waits until the guest stands still; returns None if it doesn't within `timeout` seconds.

        While the guest stands still, this returns the same stop again.
        """
        waiting = poll()
        waiting.register(self._stop_fd, POLLIN)
        waiting.register(self._ended_fd, POLLIN)
        ready = waiting.poll(None if timeout is None else timeout * 1000)
        return self.stopped if ready else None

    @property
    def stopped(self) -> Stop | None:
        """The stop at which the guest stands still, or None while the guest runs."""
        if self.machine.control.has_ended:
            end = self.machine.control.end
            return Stop(END, detail="" if end is None else end.reason)
        with self._lock:
            return self._stop if self._is_still else None

    def filenos(self) -> tuple[int, int]:
        """Returns descriptors to poll: one is readable when the guest stopped, one at the end."""
        return self._stop_fd, self._ended_fd

    def continue_(self) -> None:
        """Lets all vCPUs go on, until a breakpoint, a watchpoint, a crash or `stop`."""
        self._go()

    def step(self, vcpu: int = 0, *, alone: bool = True) -> None:
        """Lets a vCPU run one instruction; unless `alone`, the other vCPUs run meanwhile.

        No interrupt comes in between if KVM can keep them away. An exception of the instruction
        shows its handler. A vCPU that is halted waits for an interrupt. Raises `RingletError` where
        this host's KVM can't step.
        """
        with self._lock:
            watched = self._at_rest(vcpu)
            self._require_step(watched)
            self._go(watched, alone=alone)

    def next_exit(self) -> None:
        """Lets all vCPUs go on until the next VM exit, and stops when a device has answered it."""
        self._go(exits=True)

    def detach(self) -> None:
        """Removes all breakpoints, and lets the guest go on."""
        if not self.machine.has_started:
            self._stop = None
            for watched in self._watched:
                watched.halt = False
            return
        self.stop()
        self.wait()
        with self._lock:
            self._software.clear()
            self._hardware.clear()
            self._later.clear()
            if self.machine.control.end is None:
                self._go()

    def kill(self) -> None:
        """Ends the run."""
        self.machine.kill()

    # Breakpoints.

    def add_breakpoint(self, place: int | str, *, hardware: bool = False, vcpu: int = 0) -> int:
        """Adds a breakpoint at a linear address, or at a symbol; returns the address.

        A software breakpoint needs memory at the address now, as the page tables of `vcpu` map it.
        A hardware breakpoint waits for code that comes later; a processor has four registers for
        hardware breakpoints and watchpoints together. Raises `RingletError`.
        """
        address = self.address_of(place)
        with self._lock:
            watched = self._at_rest(vcpu)
            if hardware:
                self._require(self.abilities.execute, "hardware breakpoints")
                self._add_watches([Watch(address, 1, EXECUTE)])
            else:
                self._require(self.abilities.trap, "software breakpoints")
                self._software.add(address, watched.vcpu.translate(address))
        return address

    def remove_breakpoint(self, place: int | str, *, hardware: bool = False) -> None:
        """Removes the breakpoint at a linear address, or at a symbol, if there is one."""
        address = self.address_of(place)
        with self._lock:
            self._at_rest(0)
            if hardware:
                self._remove_watches([Watch(address, 1, EXECUTE)])
            else:
                self._software.remove(address)

    def add_watchpoint(self, place: int | str, size: int = 8, *, reads: bool = False) -> int:
        """Stops after writes to `size` bytes, and with `reads` also after reads of them.

        Returns the address. Raises `RingletError` where this host's KVM has no watchpoints.
        """
        address = self.address_of(place)
        with self._lock:
            self._at_rest(0)
            self._require(self.abilities.watch, "watchpoints")
            self._add_watches(pieces(address, size, ACCESS if reads else WRITE))
        return address

    def remove_watchpoint(self, place: int | str, size: int = 8, *, reads: bool = False) -> None:
        """Removes what `add_watchpoint` added."""
        address = self.address_of(place)
        with self._lock:
            self._at_rest(0)
            self._remove_watches(pieces(address, size, ACCESS if reads else WRITE))

    # Registers and memory, while the guest stands still.

    @property
    def symbols(self) -> Symbols:
        """The symbols of the machine's image."""
        return self.machine.symbols

    def address_of(self, place: int | str) -> int:
        """Returns the address of a symbol; an address is returned as it is.

        Raises `RingletError` for a symbol that the image doesn't have.
        """
        if isinstance(place, int):
            return place & _MASK
        address = self.symbols.address_of(place)
        if address is None:
            known = self.symbols.names()
            hint = near(place, known) if known else "the image has no symbols; "
            raise RingletError(f"there is no symbol {place!r}", f"{hint}give an address")
        return address

    def registers(self, vcpu: int = 0) -> Registers:
        """Returns the general registers of a vCPU."""
        return self._at_rest(vcpu).vcpu.registers

    def set_registers(self, registers: Registers, vcpu: int = 0) -> None:
        """Sets the general registers of a vCPU."""
        self._at_rest(vcpu).vcpu.registers = registers

    def special_registers(self, vcpu: int = 0) -> SpecialRegisters:
        """Returns segments, tables and control registers of a vCPU."""
        return self._at_rest(vcpu).vcpu.special_registers

    def set_special_registers(self, registers: SpecialRegisters, vcpu: int = 0) -> None:
        """Sets segments, tables and control registers of a vCPU. KVM refuses what can't be."""
        self._at_rest(vcpu).vcpu.special_registers = registers

    def next_address(self, vcpu: int = 0) -> int:
        """Returns the linear address of a vCPU's next instruction."""
        return self._at_rest(vcpu).address

    def read(self, address: int, size: int, vcpu: int = 0) -> bytes:
        """Returns memory at a linear address; fewer bytes where the mapped memory ends."""
        return read_linear(self._at_rest(vcpu).vcpu, self.machine.memory, address, size)

    def write(self, address: int, data: bytes, vcpu: int = 0) -> None:
        """Writes memory at a linear address, whether or not the guest could.

        Raises `RingletError`, and writes nothing, unless all of it is mapped to RAM.
        """
        translate = self._at_rest(vcpu).vcpu.translate
        parts: list[tuple[int, bytes]] = []
        while data:
            physical = translate(address & _MASK)
            count = min(len(data), _PAGE - address % _PAGE)
            try:
                if physical is None:
                    raise RingletError(f"no page is mapped at {address:#x}", "nothing is written")
                self.machine.memory.read(physical, count)
            except GuestMemoryError as error:
                raise RingletError(f"no RAM is at {address:#x}", "nothing is written") from error
            parts.append((physical, data[:count]))
            address, data = address + count, data[count:]
        for physical, part in parts:
            self.machine.memory.write(physical, part)

    def read_physical(self, address: int, size: int) -> bytes:
        """Returns guest-physical memory. Raises `GuestMemoryError` where no RAM is."""
        self._at_rest(0)
        return self.machine.memory.read(address, size)

    def write_physical(self, address: int, data: bytes) -> None:
        """Writes guest-physical memory. Raises `GuestMemoryError` where no RAM is."""
        self._at_rest(0)
        self.machine.memory.write(address, data)

    def close(self) -> None:
        """Detaches, and closes the descriptors. A second call does nothing."""
        if self._stop_fd < 0:
            return
        self.detach()
        with self._lock:
            self._lock.wait_for(lambda: not any(watched.waits for watched in self._watched))
        for watched in self._watched:
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
        if isinstance(exit, InternalError) and self._is_trap(watched, exit):
            self.report(watched, Stop(BREAKPOINT))
            return True
        if not isinstance(exit, (Halt, SystemEvent)):  # those are no crashes, but ends
            self.report(watched, Stop(CRASH, detail=_crash(exit)))
            watched.park()
        return False

    def report(self, watched: Watched, stop: Stop) -> None:
        """Makes all vCPUs stop because of `stop` of this vCPU."""
        with self._lock:
            watched.halt = True
            stop = stop._replace(vcpu=watched.vcpu.number, address=watched.address)
            if self._stop is None:
                self._halt(stop)
            elif self._stop.reason == INTERRUPT:
                self._stop = stop  # nothing is lost to whoever asked for a stop
            else:
                self._later.append((watched, stop))

    def step_done(self, watched: Watched) -> None:
        """Notes that a vCPU has made its step."""
        if watched.off:
            watched.halt = True  # it parks, and the next phase begins
        else:
            self.report(watched, Stop(STEP))

    def parked(self, watched: Watched) -> None:
        """Notes that a vCPU stands still, unless somebody has let it go in between."""
        with self._lock:
            watched.parked = watched.halt
            if not self._is_still and all(each.parked for each in self._watched):
                if self._stop is None:
                    self._next_phase()
                else:
                    self._stand_still(self._stop)

    def unparked(self, watched: Watched) -> None:
        """Notes that a vCPU's thread waits no more."""
        with self._lock:
            watched.waits = False
            self._lock.notify_all()

    def look_at_clock(self) -> None:
        """Ends the run if the guest has run for longer than the configuration's timeout."""
        ran = self._ran + time.monotonic() - self._since
        if self._timeout is not None and ran > self._timeout:
            self.machine.control.finish(TIMEOUT)

    # Going on and standing still. The lock is held.

    def _go(
        self, stepper: Watched | None = None, *, alone: bool = False, exits: bool = False
    ) -> None:
        with self._lock:
            if not self._is_still or self.machine.control.end is not None:
                self._at_rest(0)
                raise RingletError("the guest can't go on", "start the machine, and wait first")
            os.eventfd_read(self._stop_fd)
            for watched, stop in self._take_later():
                if stop.reason == BREAKPOINT and not self._is_at_breakpoint(watched):
                    continue
                self._stop = stop
                os.eventfd_write(self._stop_fd, 1)
                return
            self._is_still = False
            self._stop = None
            self.wants_exit = exits
            self._since = time.monotonic()
            self._stepper = stepper
            self._alone = alone or (stepper is not None and self._is_at_breakpoint(stepper))
            if not self._alone:
                others = (each for each in self._watched if each is not stepper)
                self._plan = [each for each in others if self._is_at_breakpoint(each)]
            self._next_phase()

    def _take_later(self) -> Iterator[tuple[Watched, Stop]]:
        while self._later:
            yield self._later.pop(0)

    def _next_phase(self) -> None:
        """Lets the next vCPU step off its breakpoint, or else all go on."""
        if self._plan:
            going = [self._plan.pop()]
            self._arm(going[0], step=True)
            going[0].off = True
        else:
            going = [self._stepper] if self._alone and self._stepper else self._watched
            if not self._alone:
                self._software.plant()
            for watched in going:
                self._arm(watched, step=watched is self._stepper)
        for watched in going:
            watched.release()

    def _arm(self, watched: Watched, *, step: bool) -> None:
        """Tells KVM how to debug a vCPU. A step that comes off a breakpoint doesn't meet it."""
        watches = [each for each in self._hardware if not step or each.condition != EXECUTE]
        control = DEBUG_HARDWARE if watches else 0
        if step:
            control |= DEBUG_STEP
            control |= DEBUG_BLOCK_INTERRUPTS if self.abilities.block_interrupts else 0
        elif self._software:
            control |= DEBUG_SOFTWARE
        watched.arm(control and control | DEBUG_ENABLE, watches)
        watched.stepping = step
        watched.off = False
        watched.exit = None
        watched.start = watched.address

    def _halt(self, stop: Stop) -> None:
        """Makes all vCPUs stop. `stop` is the reason."""
        self._stop = stop
        self._plan.clear()
        for watched in self._watched:
            watched.halt = True
            if not watched.parked:
                watched.vcpu.kick()

    def _stand_still(self, stop: Stop) -> None:
        """Notes that the last vCPU has stopped."""
        self._software.lift()
        self.wants_exit = False
        self._ran += time.monotonic() - self._since
        if stop.reason in (START, INTERRUPT):
            self._stop = stop._replace(address=self._watched[stop.vcpu].address)
        self._is_still = True
        os.eventfd_write(self._stop_fd, 1)

    def _at_rest(self, vcpu: int) -> Watched:
        """Returns a vCPU that stands still. Raises `RingletError` while the guest runs."""
        if self.machine.control.end is not None:
            raise RingletError("the run is over", "nothing of the guest is left to look at")
        if self.machine.has_started and not self._is_still:
            raise RingletError("the guest runs", "call stop(), and then wait()")
        if not 0 <= vcpu < len(self._watched):
            raise RingletError(f"there is no vCPU {vcpu}", f"the last is {len(self._watched) - 1}")
        return self._watched[vcpu]

    def _is_at_breakpoint(self, watched: Watched) -> bool:
        address = watched.address
        return address in self._software or Watch(address, 1, EXECUTE) in self._hardware

    # Breakpoints.

    def _add_watches(self, watches: list[Watch]) -> None:
        new = [each for each in watches if each not in self._hardware]
        if len(self._hardware) + len(new) > COUNT:
            raise NoDebugRegisterError
        self._hardware += new

    def _remove_watches(self, watches: list[Watch]) -> None:
        self._hardware = [each for each in self._hardware if each not in watches]

    def _is_trap(self, watched: Watched, exit: InternalError) -> bool:
        """Returns whether KVM could not emulate the `int3` of a breakpoint."""
        if exit.suberror != EMULATION_FAILURE or not self.abilities.trap_is_internal_error:
            return False
        if not self._software.is_planted(watched.vcpu.translate(watched.address)):
            return False
        watched.forget_exception()
        return True

    def _debug_exit(self, watched: Watched, exit: Debug) -> None:
        if exit.exception == _BP_VECTOR:
            if self._software.is_planted(watched.vcpu.translate(watched.address)):
                self.report(watched, Stop(BREAKPOINT))
            else:  # the guest's own
                watched.inject(DEBUG_INJECT_BP)
            return
        met = hits(exit.dr6, watched.watches)
        data = [each.address for each in met if each.condition != EXECUTE]
        if data:
            self.report(watched, Stop(WATCHPOINT, data=data[0]))
        elif met:
            self.report(watched, Stop(BREAKPOINT))
        elif watched.stepping:
            self.step_done(watched)
        else:
            watched.inject(DEBUG_INJECT_DB)

    # What this host's KVM can't do.

    def _require(self, able: bool, what: str) -> None:
        if not able:
            raise RingletError(
                f"this host's KVM has no {what}",
                "`ringlet nested -- ringlet ...` runs it in a machine that has them",
            )

    def _require_step(self, watched: Watched) -> None:
        ring_3 = watched.vcpu.special_registers.ss.dpl == 3
        if ring_3 and not self.abilities.step_ring_3:
            self._require(False, "single steps in ring 3")
        self._require(self.abilities.step, "single steps")


def debug(machine: Machine) -> Debugger:
    """Returns a debugger for a machine that has not started: a context manager."""
    return Debugger(machine)


def _crash(exit: Exit) -> str:
    if isinstance(exit, Shutdown):
        return "triple fault"
    if isinstance(exit, InternalError) and exit.suberror == EMULATION_FAILURE:
        return "KVM can't emulate the instruction"
    return f"KVM: {exit}"
