"""Runs a machine in the foreground: handles its signals, its report and its exit status."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import os
import sys
from contextlib import ExitStack, contextmanager, nullcontext, suppress

from ringlet.cli.answer import print_json, report
from ringlet.cli.began import START_NS
from ringlet.errors import ConfigError, RingletError
from ringlet.host.outcome import STOP_TIMEOUT
from ringlet.host.output import FdOutput
from ringlet.host.signals import Handlers
from ringlet.machine.config import from_mapping
from ringlet.machine.control import PANIC, End
from ringlet.machine.guests import which_image
from ringlet.machine.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any, Protocol

    from ringlet.boot import Kernel
    from ringlet.kvm.vm import Vm
    from ringlet.machine.crash import Crash
    from ringlet.machine.result import Result
    from ringlet.machine.situation import Situation

    class Observer(AbstractContextManager[object], Protocol):
        """Watches a run. Is entered before the machine is made, and left once all is closed."""

        def watch(self, machine: Machine) -> AbstractContextManager[object]:
            """Watches `machine` until the context is left, which is before the machine closes."""


# The reasons for an end that the guest's command or the user chose.
_EXPECTED = ("exit", "exit-port", "quit", "signal", "output-closed")


def boot(
    values: dict[str, Any],
    *,
    as_json: bool = False,
    log_unclaimed: bool = False,
    observer: Observer | None = None,
    kernel: Kernel | None = None,
    vm: Vm | None = None,
    command: str = "boot",
) -> int:
    """Boots the machine of `values`, for `MachineConfig`, and returns the exit status.

    `kernel` is as for `Machine`. `vm` is a VM that was made ahead. `command` is the command
    of ringlet that a hint names. Raises `RingletError`.
    """
    serial = "none" if values.get("hvc0") == "stdio" else "stdio"
    config = from_mapping({"serial": serial} | values, command)
    if isinstance(config.image, str) and (note := which_image(config.image)):
        print(f"ringlet: {note}", file=sys.stderr)
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
        log = _Log(stack, machine)
        stack.enter_context(Handlers([signal.SIGUSR1], lambda *_: machine.inquire(log.show)))
        if log_unclaimed:
            machine.unclaimed.log = lambda line: log.write(f"ringlet: {line}\r\n".encode())
        for number, line in enumerate(machine.lines, 1):
            if line.host.path is not None:
                name = "serial line" if number == 1 else f"COM{number}"
                print(f"ringlet: {name} at {line.host.path}", file=sys.stderr)
        if machine.hvc0 is not None and machine.hvc0.path is not None:
            print(f"ringlet: hvc0 at {machine.hvc0.path}", file=sys.stderr)
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
    _explain(machine, result, log_is_shown=last_words)
    if result.first_unclaimed is not None and not log_unclaimed:
        _tell_unclaimed(result)
    return result.status


class _Log:
    """Standard error while the machine runs, opened when there is something to write.

    A guest can flood it, and its reader may be slow, so `write` stops at the end of the run.
    """

    def __init__(self, stack: ExitStack, machine: Machine) -> None:
        self._stack = stack
        self._machine = machine
        self._output: FdOutput | None = None

    def write(self, data: bytes) -> None:
        """Writes `data`, as a terminal in raw mode wants it."""
        if self._output is None:
            self._output = FdOutput(2, self._machine.control.stop_fd)
            self._stack.callback(self._output.close)
        self._output.write(data)

    def show(self, situation: Situation) -> None:
        """Writes what the vCPUs do; if standard error can't be written, the run goes on."""
        with suppress(RingletError, OSError):
            self.write(situation.text())


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


def _explain(machine: Machine, result: Result, *, log_is_shown: bool) -> None:
    """Explains an unusual end on standard error.

    With `log_is_shown`, the end of the kernel's log is there already.
    """
    if result.crash is not None:
        _explain_crash(result.crash, result.reason)
    elif result.reason == PANIC.reason:
        _explain_panic(machine, log_is_shown=log_is_shown)
    elif result.reason == "no-status":
        report(
            "the guest ended before its command did",
            "look at what its kernel said before; --verbose shows all of it",
        )
    elif result.situation is not None:
        details = [f"  {line}" for line in result.situation.lines()]
        what = f"stopped after {machine.config.timeout:g} seconds"
        report(what, "give it longer with --timeout; below is what it did then", details)
    elif result.reason == "output-closed":
        report("the reader of the guest's output has gone", "send it to a file")


def _explain_crash(crash: Crash, reason: str) -> None:
    what, hint = f"the guest crashed: {reason}", "its last state is below"
    if crash.not_emulated:
        what = f"this host's KVM can't run `{crash.instruction}` of the guest"
    if crash.registers_are_lost:
        hint = "give it an IDT with handlers that print, as guests/lib/exception.c has"
    if crash.fault is not None and crash.fault.vector is not None:
        what += f" by {'' if crash.fault.certain else 'probably '}{crash.fault.name}"
    if crash.function and not crash.registers_are_lost:
        what += f", in {crash.function}"
    report(what, hint, [f"  {line}" for line in crash.lines()])


def _explain_panic(machine: Machine, *, log_is_shown: bool) -> None:
    what, hint, details = "the guest's kernel panicked", "look at what it printed before", []
    if machine.console_log is not None:
        from ringlet.linux.panic import find_panic

        panic = find_panic(machine.console_log.tail)
        what = panic.what()
        if machine.config.serial in ("none", "pty") and not log_is_shown:
            hint, details = "its last lines are below", [f"  {line}" for line in panic.last_lines]
    report(what, hint, details)


def _tell_unclaimed(result: Result) -> None:
    """Tells on standard error, in one line, of the accesses that no device claims."""
    reads, writes = result.unclaimed["reads"], result.unclaimed["writes"]
    counts = [
        _count(number, what) for number, what in ((reads, "read"), (writes, "write")) if number
    ]
    with suppress(OSError):
        print(
            f"ringlet: no device claims {' and '.join(counts)} of the guest; "
            f"the first: {result.first_unclaimed}",
            file=sys.stderr,
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


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
    if result.situation is not None:
        report["situation"] = result.situation.as_json()
    if result.first_unclaimed is not None:
        report["unclaimed"] = result.unclaimed | {"first": result.first_unclaimed.as_json()}
    if result.reason == PANIC.reason and machine.console_log is not None:
        from ringlet.linux.panic import find_panic

        report["panic"] = find_panic(machine.console_log.tail).as_json()
    return report
