"""A vCPU's loop: enter the guest, hand its exit to a device, enter again.

Port I/O is the way that a guest talks most, so it takes the shortest way: the number that the core
returns is looked up, and its handler called. MMIO is next, looked up with its address. All else
goes through `_other` and `_rare`.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from threading import Lock

from ringlet.kvm.core import KvmError, lib
from ringlet.kvm.vcpu import (
    KEY_SHIFT,
    KEY_SIZE,
    KEY_SIZE_SHIFT,
    KEY_WRITE,
    KIND_SHIFT,
    MP_HALTED,
    MP_INIT_RECEIVED,
    MP_UNINITIALIZED,
    VALUE_MASK,
)
from ringlet.machine.control import (
    FAIL_ENTRY,
    HALT,
    INTERNAL_ERROR,
    PANIC,
    POWER_OFF,
    RESET,
    TRIPLE_FAULT,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringlet.board.bus import MmioBus, PortBus
    from ringlet.kvm.exits import Exit
    from ringlet.kvm.vcpu import (
        Vcpu,
    )
    from ringlet.machine.control import (
        RunControl,
    )

LOOK_INTERVAL = 0.1  # seconds
RFLAGS_IF = 1 << 9
SWITCH_INTERVAL = 50e-6  # seconds; the default lets a vCPU wait 5 ms behind a busy thread

_PORT = lib.RINGLET_EXIT_PORT
_MMIO = lib.RINGLET_EXIT_MMIO
_INTERRUPTED = lib.RINGLET_EXIT_INTERRUPTED

# KVM_SYSTEM_EVENT_: 1 is shutdown, 2 reset, 3 a crash.
_SYSTEM_EVENTS = {1: POWER_OFF, 2: RESET}
_CRASHES = {"Shutdown": TRIPLE_FAULT, "FailEntry": FAIL_ENTRY}

_switch_lock = Lock()
_switch_users = 0
_switch_before = 0.0


@contextmanager
def short_switch_interval() -> Iterator[None]:
    """While a machine runs, threads take turns faster. Put back when the last one ends."""
    global _switch_users, _switch_before
    with _switch_lock:
        if _switch_users == 0:
            _switch_before = sys.getswitchinterval()
            sys.setswitchinterval(SWITCH_INTERVAL)
        _switch_users += 1
    try:
        yield
    finally:
        with _switch_lock:
            _switch_users -= 1
            if _switch_users == 0:
                sys.setswitchinterval(_switch_before)


class VcpuLoop:
    """Runs one vCPU on the thread that calls `run`.

    `peers` are the loops of all the guest's vCPUs, this one too. `on_look` is called ten times a
    second.
    """

    def __init__(
        self,
        vcpu: Vcpu,
        ports: PortBus,
        mmio: MmioBus,
        control: RunControl,
        peers: list[VcpuLoop],
        on_look: Callable[[], object] | None = None,
    ) -> None:
        self.vcpu = vcpu
        self._ports = ports
        self._mmio = mmio
        self._control = control
        self._peers = peers
        self._on_look = on_look
        self.fatal_exit: Exit | None = None  # by which the guest crashed
        # CLOCK_MONOTONIC in seconds of the first and the last look that saw it halted for good.
        self.halted_from: float | None = None
        self.halted_at = 0.0

    def run(self, on_first_exit: Callable[[], None]) -> None:
        """To the end of the run. What a device raises comes out of here."""
        vcpu = self.vcpu
        enter = vcpu.enter
        native = vcpu.native
        handlers = self._ports.handlers
        mmio_handlers = self._mmio.handlers
        self._control.enter()
        vcpu.tick(LOOK_INTERVAL)
        try:
            while (code := enter(0)) >> KIND_SHIFT == _INTERRUPTED:
                if self._look():
                    return
            on_first_exit()
            reply = 0
            while True:
                key = code >> KEY_SHIFT
                handler = handlers.get(key)
                # No key of another kind is in mmio_handlers: this needs no test for the kind.
                if handler is None and (
                    (handler := mmio_handlers.get((key, native.address))) is None
                ):
                    other = self._other(code, key)
                    if other is None:
                        return
                    reply = other
                elif key & KEY_WRITE:
                    handler(code & VALUE_MASK)
                else:
                    reply = handler()
                code = enter(reply)
        finally:
            vcpu.tick(0)
            self._control.leave()

    def _other(self, code: int, key: int) -> int | None:
        """An exit that has no handler yet. The reply to a read, None at the end of the run."""
        kind = code >> KIND_SHIFT
        if kind == _PORT:
            handler = self._ports.handler(key)
        elif kind == _MMIO and key & KEY_SIZE:
            handler = self._mmio.handler(key, self.vcpu.native.address)
        elif kind == _INTERRUPTED:
            return None if self._look() else 0
        else:
            return self._rare(code)
        if key & KEY_WRITE:
            handler(code & VALUE_MASK)
            return 0
        return int(handler())  # a None would be the end

    def _look(self) -> bool:
        """After a kick, a tick or a signal: whether the run is to end."""
        self._control.park()
        if self._on_look is not None:
            self._on_look()
        if self._control.end is None:
            self._look_for_halt()
        return self._control.end is not None

    def _look_for_halt(self) -> None:
        """Ends the run once no vCPU will ever run again. KVM alone never says so.

        Only a vCPU's own thread can ask for its state. So each notes what it saw, and the end is
        when the last to halt had done so before the others were seen halted still.
        """
        if not self._halted_for_good():
            self.halted_from = None
            return
        self.halted_at = time.monotonic()
        if self.halted_from is None:
            self.halted_from = self.halted_at
        halted_from = [peer.halted_from for peer in self._peers]
        halted_at = min(peer.halted_at for peer in self._peers)
        if all(since is not None and since <= halted_at for since in halted_from):
            self._control.finish(HALT)

    def _rare(self, code: int) -> int | None:
        from ringlet.kvm import exits

        control = self._control
        exit = self.vcpu.exit(code)
        match exit:
            case exits.MmioRead(address, size):  # of more than 4 bytes
                return int(self._mmio.read(address, size))
            case exits.MmioWrite(address, size, value):
                self._mmio.write(address, size, value)
                return 0
            case exits.PortStringRead(port, size, count):
                handler = self._ports.handler(port | size << KEY_SIZE_SHIFT)
                mask = (1 << 8 * size) - 1
                items = ((handler() & mask).to_bytes(size, "little") for _ in range(count))
                self.vcpu.reply_string(b"".join(items))
                return 0
            case exits.PortStringWrite(port, size, count, data):
                handler = self._ports.handler(port | size << KEY_SIZE_SHIFT | KEY_WRITE)
                for start in range(0, size * count, size):
                    handler(int.from_bytes(data[start : start + size], "little"))
                return 0
            case exits.Halt():  # no interrupt controller is there to end it
                control.finish(HALT)
            case exits.SystemEvent(kind):
                control.finish(_SYSTEM_EVENTS.get(kind, PANIC))
            case exits.Error(number):
                raise KvmError("can't run a vCPU", number)
            case _:
                self.fatal_exit = exit
                control.finish(_CRASHES.get(type(exit).__name__, INTERNAL_ERROR))
        return None

    def _halted_for_good(self) -> bool:
        """Halted with interrupts off, or not yet started by another vCPU."""
        state = self.vcpu.mp_state
        if state == MP_HALTED:
            return not self.vcpu.registers.rflags & RFLAGS_IF
        return state in (MP_UNINITIALIZED, MP_INIT_RECEIVED)
