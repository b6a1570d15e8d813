"""Runs a machine in the foreground: handles its signals, its report and its exit status."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import os
import sys
from contextlib import ExitStack, contextmanager, nullcontext, suppress

from ringlet.cli.answer import print_json, report
from ringlet.cli.began import START_NS
from ringlet.errors import ConfigError
from ringlet.host.outcome import STOP_TIMEOUT
from ringlet.host.output import FdOutput
from ringlet.host.signals import Handlers
from ringlet.machine.config import from_mapping
from ringlet.machine.control import PANIC, TIMEOUT, End
from ringlet.machine.guests import hides_guest
from ringlet.machine.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any, Protocol

    from ringlet.boot import Kernel
    from ringlet.kvm.vm import Vm
    from ringlet.machine.machine import Result

    class Observer(AbstractContextManager[object], Protocol):
        """Watches a run. Is entered before the machine is made, and left once all is closed."""

        def watch(self, machine: Machine) -> AbstractContextManager[object]:
            """Watches `machine` until the context is left, which is before the machine closes."""


# The reasons for an end that the guest's command or the user chose.
_EXPECTED = ("exit-port", "quit", "signal", "output-closed")


def boot(
    values: dict[str, Any],
    *,
    as_json: bool = False,
    log_unclaimed: bool = False,
    observer: Observer | None = None,
    kernel: Kernel | None = None,
    vm: Vm | None = None,
) -> int:
    """Boots the machine of `values`, for `MachineConfig`, and returns the exit status.

    `kernel` is as for `Machine`. `vm` is a VM that was made ahead. Raises `RingletError`.
    """
    config = from_mapping({"serial": "stdio"} | values)
    if isinstance(config.image, str) and hides_guest(config.image):
        print(
            f"ringlet: booting the file {config.image} of this folder, not the guest of that name",
            file=sys.stderr,
        )
    if "pipe" in (config.serial, config.com2, config.com3):
        raise ConfigError("a serial line of `pipe` is for programs", "name stdio, pty or a file")

    def make() -> Machine:
        return Machine(config, kernel=kernel, output_fd=2 if as_json else 1, vm=vm)

    return attend(make, as_json=as_json, log_unclaimed=log_unclaimed, observer=observer)


def attend(
    make: Callable[[], Machine],
    *,
    as_json: bool = False,
    log_unclaimed: bool = False,
    last_words: bool = False,
    observer: Observer | None = None,
) -> int:
    """Runs the machine that `make` makes, and returns the exit status.

    With `last_words`, the end of the kernel's log is shown, unless the guest's command or the user
    ended the machine. Raises `RingletError`.
    """
    start = _start()
    with observer or nullcontext(), _ending_signals() as ending, ExitStack() as stack:
        machine = stack.enter_context(make())
        ending.machine = machine
        ending.end()
        if log_unclaimed:
            log = FdOutput(2, machine.control.stop_fd)  # a guest can flood this log, too
            stack.callback(log.close)
            machine.unclaimed.log = lambda line: log.write(f"ringlet: {line}\r\n".encode())
        for number, line in enumerate(machine.lines, 1):
            if line.host.path is not None:
                name = "serial line" if number == 1 else f"COM{number}"
                print(f"ringlet: {name} at {line.host.path}", file=sys.stderr)
        if observer is not None:
            stack.enter_context(observer.watch(machine))
        result = machine.run()
    if last_words and machine.console_log is not None and result.reason not in _EXPECTED:
        with suppress(OSError), open(2, "wb", closefd=False) as stderr:
            stderr.write(machine.console_log.tail)
    # Everything is closed. From here on, a signal acts on the process itself, also while the
    # process waits until it can write its report.
    if as_json:
        print_json(_as_json(machine, result, start))
    _explain(machine.config.timeout, result)
    return result.status


class _Ending:
    """Ends the machine when a signal arrives. An earlier signal waits until the machine exists.

    The first SIGTERM presses the power button, if the guest listens for the button. Any other
    signal ends the machine, and so does SIGALRM, when the time to power off is over.
    """

    machine: Machine | None = None
    asks = True
    number = 0

    def end(self) -> None:
        """Ends the machine if a signal has come, or asks its guest to end."""
        if self.machine is None or not self.number:
            return
        asks = self.asks and self.number == signal.SIGTERM
        self.asks = False
        if asks and self.machine.control.press_power_button():
            signal.setitimer(signal.ITIMER_REAL, STOP_TIMEOUT)
        else:
            self.machine.control.finish(End("signal", 128 + self.number))


@contextmanager
def _ending_signals() -> Iterator[_Ending]:
    """Handles SIGTERM and the other ending signals by the `_Ending` that it yields."""
    ending = _Ending()

    def on_signal(number: int, frame: object) -> None:
        ending.number = ending.number or number
        ending.end()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM)
    with Handlers(numbers, on_signal):
        try:
            yield ending
        finally:
            if ending.number:
                signal.setitimer(signal.ITIMER_REAL, 0)


def _explain(timeout: float | None, result: Result) -> None:
    """Explains an unusual end on standard error."""
    if result.crash is not None:
        what = f"the guest crashed: {result.reason}"
        if result.crash.not_emulated:
            what = f"this host's KVM can't run `{result.crash.instruction}` of the guest"
        details = [f"  {line}" for line in result.crash.lines()]
        report(what, "its last state is below", details)
    elif result.reason == PANIC.reason:
        report("the guest's kernel panicked", "look at what it printed before")
    elif result.reason == "no-status":
        report(
            "the guest ended before its command did",
            "look at what its kernel said before; --verbose shows all of it",
        )
    elif result.reason == TIMEOUT.reason:
        report(f"stopped after {timeout:g} seconds", "give it longer with --timeout")
    elif result.reason == "output-closed":
        report("the reader of the guest's output has gone", "send it to a file")


def _start() -> int:
    """Returns the time at which the timings start: CLOCK_MONOTONIC in nanoseconds."""
    outer = os.environ.get("RINGLET_START_NS", str(START_NS))
    if not (outer.isascii() and outer.isdigit() and len(outer) < 20):
        raise ConfigError(
            f"RINGLET_START_NS={outer[:40]!r} is not a time", "give CLOCK_MONOTONIC in nanoseconds"
        )
    return int(outer)


def _as_json(machine: Machine, result: Result, start: int) -> dict[str, Any]:
    timings = machine.timings
    steps = ("vm_created", "image_loaded", "first_exit", "first_output", "end")
    report: dict[str, Any] = {
        "exit": {"reason": result.reason, "status": result.status},
        "exits": result.exits,
        "unclaimed": result.unclaimed,
        "timings": {
            step: None if (at := getattr(timings, step)) is None else (at - start) / 1e9
            for step in steps
        },
    }
    if result.crash is not None:
        report["crash"] = result.crash.as_json()
    return report
