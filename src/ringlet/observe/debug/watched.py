"""One vCPU under a debugger: what stands between the vCPU's loop and KVM.

`Watched.enter` takes the place of `Vcpu.enter`. It runs on the vCPU's own thread, and calls the
real one. While the vCPU is parked, it waits in there, and holds nothing of KVM: so any thread may
then read and set its registers (KVM serializes the requests of a vCPU by a lock that KVM_RUN
holds, too).

A vCPU parks only where its state is whole. An access to a device is complete only once KVM has been
entered with the device's answer. So before the vCPU parks, it enters KVM with a kick pending, which
completes the access and runs no further instruction (KVM API, 5, "KVM_EXIT_IO").
"""

from __future__ import annotations

import os
from contextlib import suppress
from select import POLLIN, poll

from ringlet.board.layout import PVPANIC_PORT
from ringlet.devices.pvpanic import PANICKED
from ringlet.host.descriptor import eventfds
from ringlet.kvm.core import lib
from ringlet.kvm.vcpu import (
    DEBUG_INJECT_BP,
    DEBUG_INJECT_DB,
    DEBUG_STEP,
    KEY_SHIFT,
    KEY_SIZE_SHIFT,
    KEY_WRITE,
    KIND_SHIFT,
)
from ringlet.machine.assembly import linear_rip
from ringlet.observe.debug.breakpoints import PORT_TRAP, TRAP_PORTS
from ringlet.observe.debug.debug_registers import control_word
from ringlet.observe.debug.stop import EXIT, Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.kvm.exits import Exit
    from ringlet.kvm.vcpu import Vcpu
    from ringlet.observe.debug.all_stop import AllStop
    from ringlet.observe.debug.debug_registers import Watch
    from ringlet.observe.debug.step import Step

_MMIO = lib.RINGLET_EXIT_MMIO
_ACCESSES = (lib.RINGLET_EXIT_PORT, _MMIO, lib.RINGLET_EXIT_PORT_STRING)
_INTERRUPTED = lib.RINGLET_EXIT_INTERRUPTED
_TRAP_KEYS = tuple(port | 1 << KEY_SIZE_SHIFT | KEY_WRITE for port in TRAP_PORTS)
_MASK = 0xFFFF_FFFF_FFFF_FFFF
_PANIC_KEY = PVPANIC_PORT | 1 << KEY_SIZE_SHIFT | KEY_WRITE


class Watched:
    """A vCPU of the debugger's machine.

    All but `enter` and `park` belongs to whoever holds the debugger's lock.
    """

    def __init__(self, all_stop: AllStop, vcpu: Vcpu, *, halt: bool) -> None:
        self.vcpu = vcpu
        self._all_stop = all_stop
        self._enter = vcpu.enter
        (self._go_fd,) = eventfds(0, flags=os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.halt = halt  # whether to park
        self.parked = False
        self.waits = False  # whether the thread is in `park`; a little longer than `parked`
        self.off = False  # whether the step is there to come off a breakpoint
        self.step: Step | None = None  # the step under way
        self.watches: list[Watch] = []  # what the debug registers hold, in their order
        self._control = 0  # what KVM was told of debugging last: DEBUG_ bits
        self.exit: Exit | None = None  # the access under way, if one was asked for
        self.written: int | None = None  # the watched address that the access under way has met
        self._accessing = False  # whether the last exit was an access, to be completed
        vcpu.enter = self.enter

    @property
    def address(self) -> int:
        """The linear address of the next instruction."""
        return linear_rip(self.vcpu.registers, self.vcpu.special_registers)

    def enter(self, reply: int) -> int:
        """Runs the guest to its next exit for the vCPU's loop, as `Vcpu.enter` does."""
        all_stop = self._all_stop
        while True:
            settles = self._accessing and (
                self.halt
                or self.step is not None
                or self.exit is not None
                or self.written is not None
            )
            if settles:
                self.vcpu.kick()
            elif self.halt:
                if not self.park():
                    return int(_INTERRUPTED) << KIND_SHIFT
                continue
            code = self._enter(reply)
            kind = code >> KIND_SHIFT
            if kind in _ACCESSES:
                self._accessing = True
                if code >> KEY_SHIFT in _TRAP_KEYS and self._comes_off_port_trap():
                    all_stop.meets_trap(self)
                    reply = 0
                    continue
                if kind == _MMIO and all_stop.writes_guarded(self):
                    reply = 0
                    continue
                if code >> KEY_SHIFT == _PANIC_KEY and code & PANICKED:
                    all_stop.crash(self, "the guest's kernel panicked")
                elif all_stop.wants_exit:
                    self.exit = self.vcpu.exit(code)
                return code
            self._accessing = False
            if kind != _INTERRUPTED:
                if all_stop.examine(self, kind):
                    reply = 0
                    continue
                return code
            if self.written is not None:
                all_stop.meets_watch(self)
            elif self.exit is not None:
                all_stop.report(self, Stop(EXIT, exit=self.exit, reply=reply))
                self.exit = None
            elif settles and self.step is not None and self.address != self.step.start:
                all_stop.step_done(self)
            elif not self.halt and not settles:
                all_stop.look_at_clock()
                return code
            reply = 0

    def park(self) -> bool:
        """Waits until the vCPU may go on. Returns False at the end of the run."""
        control = self._all_stop.machine.control
        control.leave()  # a pause needn't wait for this vCPU
        try:
            self.waits = True
            waiting = poll()
            waiting.register(control.stop_fd, POLLIN)
            waiting.register(self._go_fd, POLLIN)
            while self.halt and control.end is None:
                self._all_stop.parked(self)  # again, if it was let go and halted before it woke
                waiting.poll()
                with suppress(BlockingIOError):
                    os.eventfd_read(self._go_fd)
        finally:
            self._all_stop.unparked(self)
            control.enter()
        return control.end is None

    def arm(self, control: int, watches: list[Watch]) -> None:
        """Tells KVM how to debug this vCPU: DEBUG_ bits, and what the debug registers hold."""
        # KVM notes where a step begins, so it is told of each step.
        if control & DEBUG_STEP or (control, watches) != (self._control, self.watches):
            self.vcpu.guest_debug(control, control_word(watches))
        self._control, self.watches = control, watches

    def inject_breakpoint(self) -> None:
        """Gives the guest the exception of its own `int3`."""
        self.vcpu.guest_debug(self._control | DEBUG_INJECT_BP, control_word(self.watches))

    def inject_debug(self, dr6: int) -> None:
        """Gives the guest its own debug exception, with the cause as DR6 has it."""
        registers = self.vcpu.debug_registers
        self.vcpu.debug_registers = registers._replace(dr6=dr6)
        self.vcpu.guest_debug(self._control | DEBUG_INJECT_DB, control_word(self.watches))

    def forget_exception(self) -> None:
        """Drops the exception that KVM gives the guest next for what KVM could not emulate."""
        events = bytearray(self.vcpu.get_state(lib.RINGLET_STATE_EVENTS))
        events[0] = events[3] = 0  # kvm_vcpu_events.exception: injected, pending
        self.vcpu.set_state(lib.RINGLET_STATE_EVENTS, bytes(events))

    def _comes_off_port_trap(self) -> bool:
        """Returns whether the access is a breakpoint's; then RIP is where the breakpoint is.

        KVM sets RIP behind the instruction before it tells of the write, or when the write is
        complete.
        """
        size = len(PORT_TRAP)
        if not self._all_stop.is_trap(self) and not self._all_stop.is_trap(self, size):
            return False
        self.vcpu.kick()
        self._enter(0)
        self._accessing = False
        if not self._all_stop.is_trap(self, size):
            return False  # the guest's own write to this port, just before a breakpoint
        registers = self.vcpu.registers
        self.vcpu.registers = registers._replace(rip=registers.rip - size & _MASK)
        return True

    def release(self) -> None:
        """Lets the vCPU go on."""
        self.halt = self.parked = False
        os.eventfd_write(self._go_fd, 1)

    def close(self) -> None:
        """Gives the vCPU its own `enter` back, and closes the descriptor."""
        self.vcpu.enter = self._enter
        os.close(self._go_fd)
