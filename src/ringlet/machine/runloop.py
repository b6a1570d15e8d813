"""A vCPU's loop: enter the guest, give the exit to a device, enter the guest again.

Most exits are port I/O, so port I/O takes the shortest path: the loop looks up the number that the
core returns, and calls the handler that it finds. For MMIO, the loop looks up the number together
with the address. All other exits go through `_other` and `_rare`.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from operator import index
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
    from typing import Any

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
SWITCH_INTERVAL = 50e-6  # seconds; with Python's default, a vCPU waits 5 ms for a busy thread

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
    """Shortens Python's thread switch interval until the last running machine ends."""
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

    `peers` are the loops of all vCPUs of the guest, including this loop. The loop calls `on_look`
    ten times a second.
    """

    def __init__(
        self,
        vcpu: Vcpu,
        ports: PortBus,
        mmio: MmioBus,
        control: RunControl,
        peers: list[VcpuLoop],
        on_look: Callable[[Vcpu], object] = lambda vcpu: None,
    ) -> None:
        self.vcpu = vcpu
        self._ports = ports
        self._mmio = mmio
        self._control = control
        self._peers = peers
        self._on_look = on_look
        self.fatal_exit: Exit | None = None  # the exit by which the guest crashed
        # After an exception: the exit that was handled, and the reply to the last read.
        self.failed: tuple[int, object] | None = None
        # The times of the first and the last look that saw the vCPU halted for good:
        # CLOCK_MONOTONIC in seconds.
        self.halted_from: float | None = None
        self.halted_at = 0.0

    def run(self, on_first_exit: Callable[[], None]) -> None:
        """Runs the vCPU to the end of the run. Raises any exception that a device raises."""
        vcpu = self.vcpu
        enter = vcpu.enter
        native = vcpu.native
        handlers = self._ports.handlers
        mmio_handlers = self._mmio.handlers
        self._control.enter()
        vcpu.tick(LOOK_INTERVAL)
        code, reply = _INTERRUPTED << KIND_SHIFT, 0
        try:
            while (code := enter(0)) >> KIND_SHIFT == _INTERRUPTED:
                if self._look():
                    return
            on_first_exit()
            while True:
                key = code >> KEY_SHIFT
                handler = handlers.get(key)
                # mmio_handlers has keys of MMIO exits only, so no test for the kind is needed.
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
        except Exception:
            self.failed = code, reply
            raise
        finally:
            vcpu.tick(0)
            self._control.leave()

    def _other(self, code: int, key: int) -> int | None:
        """Handles an exit that has no handler yet.

        Returns the reply to a read, or None at the end of the run.
        """
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
        return _number(handler())  # never None, which would end the run

    def _look(self) -> bool:
        """Looks at `control` after a kick, a tick or a signal; returns whether the run is over."""
        self._control.park()
        self._on_look(self.vcpu)
        if self._control.end is None:
            self._look_for_halt()
        return self._control.end is not None

    def _look_for_halt(self) -> None:
        """Ends the run once no vCPU will ever run again, which KVM doesn't report.

        Only a vCPU's own thread can ask KVM for the vCPU's state. So each loop notes when it first
        and last saw its vCPU halted. The run ends if there is a moment at which all vCPUs were
        halted: the latest of the first times is not after the earliest of the last times.
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
                return _number(self._mmio.read(address, size))
            case exits.MmioWrite(address, size, value):
                self._mmio.write(address, size, value)
                return 0
            case exits.PortStringRead(port, size, count):
                handler = self._ports.handler(port | size << KEY_SIZE_SHIFT)
                mask = (1 << 8 * size) - 1
                items = ((_number(handler()) & mask).to_bytes(size, "little") for _ in range(count))
                self.vcpu.reply_string(b"".join(items))
                return 0
            case exits.PortStringWrite(port, size, count, data):
                handler = self._ports.handler(port | size << KEY_SIZE_SHIFT | KEY_WRITE)
                for start in range(0, size * count, size):
                    handler(int.from_bytes(data[start : start + size], "little"))
                return 0
            case exits.Halt():  # without an interrupt controller, no interrupt can end the halt
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
        """Returns whether the vCPU is halted with interrupts off, or not yet started."""
        state = self.vcpu.mp_state
        if state == MP_HALTED:
            return not self.vcpu.registers.rflags & RFLAGS_IF
        return state in (MP_UNINITIALIZED, MP_INIT_RECEIVED)


def _number(reply: Any) -> int:
    """Returns the reply of a device to a read; raises `ReplyError` if the reply is no number."""
    try:
        return index(reply)
    except TypeError:
        from ringlet.machine.device_error import ReplyError

        raise ReplyError(reply) from None
