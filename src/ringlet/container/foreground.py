"""A container's process in the foreground: what this process gets is the other's, and its end ours.

Signals are caught from before the process is there until after its end, and none is lost: they
are written to a pipe, from which they are sent on. One that would end this program before the
process is there does that (host/interrupt.py).

Source: signal(7); pidfd_open(2).
"""

# The module `signal` makes enums of it all, which takes a tenth of a whole `run`.
import _signal as signal  # type: ignore[import-not-found]
import os
from select import POLLIN, poll

from ringlet.closing import Closing
from ringlet.host import interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from ringlet.container.notify import Notify
    from ringlet.container.relay import Relay
    from ringlet.container.typed import TypedInput

    class Followed(Protocol):
        """A process."""

        def fileno(self) -> int:
            """Readable once it has ended."""

        def signal(self, number: int) -> object:
            """Sends it a signal; it may have ended."""


# Not sent on: what can't be caught, what tells of this process itself, and what a shell's job
# control says to this one.
_OWN = {
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGCHLD,
    signal.SIGPIPE,
    signal.SIGURG,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGSYS,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCONT,
}


class Foreground(Closing):
    """Catches signals from now on, for `follow`."""

    def __init__(self) -> None:
        self._signals, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._before: dict[int, object] = {}
        self._wakeup = signal.set_wakeup_fd(self._writer)
        # The highest are left: a vCPU of this process may be kicked by one (csrc/core/kick.c).
        for number in range(1, signal.SIGRTMAX - 3):
            if number in _OWN or signal.SIGSYS < number < signal.SIGRTMIN:
                continue
            # What is ignored on purpose (nohup) stays so, and what C handles (faulthandler).
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                handler = interrupt.note if number in interrupt.ENDING else _caught
                self._before[number] = signal.signal(number, handler)

    def follow(
        self,
        process: "Followed",
        relay: "Relay | TypedInput | None" = None,
        notify: "Notify | None" = None,
    ) -> None:
        """Sends the signals on to `process`, and moves what `relay` has, until it has ended.

        What it says to `notify` is passed on.
        """
        for number in self._before:
            signal.signal(number, _caught)
        interrupt.forget()  # they are in the pipe, too
        waiting = poll()
        waiting.register(process.fileno(), POLLIN)
        waiting.register(self._signals, POLLIN)
        if relay is not None:
            relay.listen(waiting)
        if notify is not None:
            waiting.register(notify.fileno(), POLLIN)
        while True:
            ready = dict(waiting.poll())
            if self._signals in ready:
                for number in os.read(self._signals, 4096):
                    if relay is not None and number == signal.SIGWINCH:
                        relay.resize()
                    else:
                        process.signal(number)
            if relay is not None:
                relay.move(ready, waiting)
            if notify is not None and notify.fileno() in ready and notify.pass_on():
                waiting.unregister(notify.fileno())
            if process.fileno() in ready:
                break
        if relay is not None:
            relay.drain()

    def close(self) -> None:
        """Puts the handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._writer)
        os.close(self._signals)


def _caught(number: int, frame: object) -> None:
    """Python has written its number to the pipe."""
