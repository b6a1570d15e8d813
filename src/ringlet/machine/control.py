"""The one object that controls a run: whether it goes on, how it ended, who is told.

A run ends by `finish`, whoever calls it: a device, a signal handler, a timer, another thread.
The first one counts. Each vCPU is kicked out of the guest and its loop looks here; who waits
for the host meanwhile, such as slow output, is woken by `stop_fd`. A pause is the same path: the
loop finds `pausing` set, and parks.
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
    """How a run ended: why in one word, and the status for the shell."""

    reason: str
    status: int


# The ends that a run can have, beside the guest's own status and a signal to ringlet.
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
    """Made before the run. Each method may be called from any thread and signal handler."""

    def __init__(self) -> None:
        # The last is readable but in a pause.
        self.stop_fd, self.ended_fd, self._go_fd = eventfds(
            *(0, 0, 1), flags=os.EFD_CLOEXEC | os.EFD_NONBLOCK
        )
        self.error: BaseException | None = None
        self.power_button: Callable[[], bool] = lambda: False  # see `press_power_button`
        self._vcpus: list[Vcpu] = []
        self._ends: list[End] = []  # append is atomic, also against a signal handler
        self._lock = RLock()  # over `_closed`: the descriptors' numbers may be others' afterwards
        self._ended = Event()
        self._closed = False
        self.pausing = False
        self._running = 0  # vCPUs in their loops and not parked
        self._parked = Condition()

    @property
    def end(self) -> End | None:
        """How it ended or is about to, None while it goes on."""
        return self._ends[0] if self._ends else None

    @property
    def has_ended(self) -> bool:
        """Whether the run is over and all its output written."""
        return self._ended.is_set()

    def attach(self, vcpu: Vcpu) -> None:
        """A vCPU to kick at the end."""
        self._vcpus.append(vcpu)

    def finish(self, end: End) -> None:
        """The run is to end. The first call decides how; after `close` it does nothing."""
        with self._lock:
            if self._closed:
                return
            self._ends.append(end)
            os.eventfd_write(self.stop_fd, 1)
        for vcpu in self._vcpus:
            vcpu.kick()

    def press_power_button(self) -> bool:
        """Asks the guest to power off; returns whether it listens for that.

        To one that doesn't, nothing happens. Whether a guest that listens obeys is its own matter.
        """
        with self._lock:  # the VM isn't closed before `finish`
            return self.end is None and self.power_button()

    def fail(self, error: BaseException) -> None:
        """The run is to end because ringlet, or a device of the program's, could not go on."""
        if self.error is None:
            self.error = error
        self.finish(ERROR)

    # A pause. A signal handler may end it by `finish`, and calls nothing else of it.

    def enter(self) -> None:
        """A vCPU's loop begins: in a pause, it waits."""
        with self._parked:
            self._running += 1
        self.park()

    def leave(self) -> None:
        """A vCPU's loop ends."""
        with self._parked:
            self._running -= 1
            self._parked.notify_all()

    def park(self) -> None:
        """Waits for the end of a pause, or of the run."""
        while self.pausing and self.end is None:
            self.leave()
            waiting = poll()
            waiting.register(self.stop_fd, POLLIN)
            waiting.register(self._go_fd, POLLIN)
            waiting.poll()
            with self._parked:
                self._running += 1

    def pause(self) -> None:
        """Returns when no vCPU runs. One that waits for a slow reader comes to it later."""
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
        """The last vCPU has left its loop."""
        self._ended.set()
        with self._lock:
            if not self._closed:
                os.eventfd_write(self.ended_fd, 1)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the end, at most `timeout` seconds. Whether it came."""
        return self._ended.wait(timeout)

    def close(self) -> None:
        """Closes the descriptors."""
        with self._lock:
            self._closed = True
            fds = self.stop_fd, self.ended_fd, self._go_fd
            self.stop_fd = self.ended_fd = (
                self._go_fd
            ) = -1  # the numbers may be others' from now on
        for fd in fds:
            os.close(fd)
