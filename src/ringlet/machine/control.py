"""The one object that controls a run: it ends the run, pauses the run, and wakes waiting threads.

A device, a signal handler, a timer or another thread ends the run by `finish`. The first call
decides how the run ended. `finish` kicks each vCPU out of the guest, and the vCPU's loop then
looks at this object. `finish` also signals `stop_fd`, which wakes a thread that waits for the
host, for example for slow output. A pause works in the same way: the loop sees that `pausing` is
set, and waits in `park`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from select import POLLIN, poll
from threading import Condition, Event, RLock

from ringlet.host.descriptor import eventfds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple

    from ringlet.kvm.vcpu import Vcpu
else:
    from ringlet.host.named_tuple import NamedTuple


class End(NamedTuple):
    """How a run ended: the reason in one word, and the exit status for the shell."""

    reason: str
    status: int


# All ends that a run can have, except for the guest's own status and a signal to ringlet.
HALT = End("halt", 0)
POWER_OFF = End("power-off", 0)
RESET = End("reset", 0)
PANIC = End("panic", 70)
TRIPLE_FAULT = End("triple-fault", 70)
INTERNAL_ERROR = End("internal-error", 70)
FAIL_ENTRY = End("fail-entry", 70)
TIMEOUT = End("timeout", 124)
ERROR = End("error", 125)
QUIT = End("quit", 130)
KILLED = End("killed", 137)
OUTPUT_CLOSED = End("output-closed", 141)
STOPPED = End("stopped", 143)


class RunControl:
    """Controls one run. Any thread and any signal handler may call each method."""

    def __init__(self) -> None:
        # `_go_fd` is readable, except in a pause.
        self.stop_fd, self.ended_fd, self._go_fd = eventfds(
            *(0, 0, 1), flags=os.EFD_CLOEXEC | os.EFD_NONBLOCK
        )
        self.error: BaseException | None = None
        self.power_button: Callable[[], bool] = lambda: False  # see `press_power_button`
        self._vcpus: list[Vcpu] = []
        self._ends: list[End] = []  # append is atomic, also against a signal handler
        # Guards `_closed`: after `close`, other files may have the numbers of the descriptors.
        self._lock = RLock()
        self._ended = Event()
        self._closed = False
        self.pausing = False
        self._running = 0  # the number of vCPUs that are in their loops and not parked
        self._parked = Condition()

    @property
    def end(self) -> End | None:
        """How the run ended or is about to end; None while the run goes on."""
        return self._ends[0] if self._ends else None

    @property
    def has_ended(self) -> bool:
        """Whether the run is over and all its output is written."""
        return self._ended.is_set()

    def attach(self, vcpu: Vcpu) -> None:
        """Adds a vCPU, which is kicked at the end and for a pause."""
        self._vcpus.append(vcpu)

    def finish(self, end: End) -> None:
        """Ends the run. The first call decides how the run ended; after `close`, does nothing."""
        with self._lock:
            if self._closed:
                return
            self._ends.append(end)
            os.eventfd_write(self.stop_fd, 1)
        for vcpu in self._vcpus:
            vcpu.kick()

    def press_power_button(self) -> bool:
        """Asks the guest to power off; returns whether the guest listens for the power button.

        Nothing happens to a guest that doesn't listen. A guest that listens may still ignore the
        button.
        """
        with self._lock:  # the VM can't be closed here, because `finish` comes before
            return self.end is None and self.power_button()

    def fail(self, error: BaseException) -> None:
        """Ends the run because of `error`: ringlet or a program's own device could not go on."""
        if self.error is None:
            self.error = error
        self.finish(ERROR)

    # A pause. A signal handler may call `finish`, which ends the pause, but no method below.

    def enter(self) -> None:
        """Notes that a vCPU's loop begins; in a pause, waits for the end of the pause."""
        with self._parked:
            self._running += 1
        self.park()

    def leave(self) -> None:
        """Notes that a vCPU's loop ends."""
        with self._parked:
            self._running -= 1
            self._parked.notify_all()

    def park(self) -> None:
        """Waits for the end of a pause or the end of the run."""
        while self.pausing and self.end is None:
            self.leave()
            waiting = poll()
            waiting.register(self.stop_fd, POLLIN)
            waiting.register(self._go_fd, POLLIN)
            waiting.poll()
            with self._parked:
                self._running += 1

    def pause(self) -> None:
        """Begins a pause, and waits until no vCPU runs.

        A vCPU that waits for a slow reader stops only when that wait is over.
        """
        self.pausing = True
        with suppress(BlockingIOError):
            os.eventfd_read(self._go_fd)
        for vcpu in self._vcpus:
            vcpu.kick()
        with self._parked:
            self._parked.wait_for(lambda: self._running == 0)

    def resume(self) -> None:
        """Ends a pause."""
        self.pausing = False
        os.eventfd_write(self._go_fd, 1)

    def set_ended(self) -> None:
        """Notes that the run is over: the last vCPU has left its loop."""
        self._ended.set()
        with self._lock:
            if not self._closed:
                os.eventfd_write(self.ended_fd, 1)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the end of the run, at most `timeout` seconds; returns whether the end came."""
        return self._ended.wait(timeout)

    def close(self) -> None:
        """Closes the descriptors."""
        with self._lock:
            self._closed = True
            fds = self.stop_fd, self.ended_fd, self._go_fd
            self.stop_fd = self.ended_fd = (
                self._go_fd
            ) = -1  # from now on, other files may get these numbers
        for fd in fds:
            os.close(fd)
