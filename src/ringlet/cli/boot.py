"""`ringlet boot`: a guest kernel from the command line."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import click

from ringlet.boot import PROTOCOLS
from ringlet.cli import CANNOT, START_NS, report
from ringlet.config import from_mapping, parse_address, parse_size, read_toml
from ringlet.control import INTERNAL_ERROR, TIMEOUT, End
from ringlet.errors import ConfigError, RingletError
from ringlet.host.output import FdOutput
from ringlet.machine import Machine, Result

EPILOG = """\b
Examples:
  ringlet boot hello                       a guest that comes with ringlet
  ringlet boot echo                        type at it; Ctrl-D ends it, Ctrl-A h helps
  ringlet boot kernel.elf --memory 256M --cmdline 'verbose'
  ringlet boot boot.bin --load-address 0x7c00
  ringlet boot --config vm.toml --timeout 5 --json

\b
Status: what the guest wrote to port 0xf4; 0 if it halted for good or reset; 70 if it
crashed; 124 at the timeout; 125 if ringlet could not do it; 128 + n after signal n.
"""


def _complete_image(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    from ringlet.guests import guests

    names = [CompletionItem(g.name, help=g.summary) for g in guests()]
    found = [item for item in names if item.value.startswith(incomplete)]
    return [*found, CompletionItem(incomplete, type="file")]


@click.command("boot", epilog=EPILOG)
@click.argument("image", required=False, shell_complete=_complete_image)
@click.option("--memory", metavar="SIZE", help="RAM of the guest, such as 64M (the default).")
@click.option("--cmdline", metavar="TEXT", help="Command line for the guest.")
@click.option("--initrd", metavar="FILE", type=click.Path(), help="The first module.")
@click.option(
    "--module",
    "modules",
    metavar="FILE[,TEXT]",
    multiple=True,
    help="A module, and its command line. May be given again.",
)
@click.option("--protocol", type=click.Choice(PROTOCOLS), help="Don't look at the image, use this.")
@click.option("--load-address", metavar="ADDRESS", help="Of a flat image; 0x7c00 if not given.")
@click.option(
    "--serial",
    metavar="WHERE",
    help="The guest's serial line: stdio (the default), pty, none, or a file for its output.",
)
@click.option("--timeout", type=float, metavar="SECONDS", help="End the run, with status 124.")
@click.option("--pit/--no-pit", default=None, help="An i8254 timer for the guest.")
@click.option("--config", metavar="FILE", type=click.Path(), help="TOML for what isn't given here.")
@click.option("--json", "as_json", is_flag=True, help="Report on the run, on standard output.")
@click.option("--log-unclaimed", is_flag=True, help="Log accesses that no device claims.")
def command(
    config: str | None,
    as_json: bool,
    log_unclaimed: bool,
    memory: str | None,
    load_address: str | None,
    modules: tuple[str, ...],
    **options: Any,
) -> int:
    """Boot IMAGE: a file, or the name of a guest that comes with ringlet.

    What the guest writes to its serial port is shown, and the status that it chooses is the
    command's. An image is an ELF with a PVH note, a 64-bit ELF, or flat 16-bit code.
    """
    try:
        values = {"serial": "stdio"} | (read_toml(config) if config else {})
        values |= {key: value for key, value in options.items() if value is not None}
        if memory is not None:
            values["memory"] = parse_size(memory)
        if load_address is not None:
            values["load_address"] = parse_address(load_address)
        if modules:
            values["modules"] = modules
        return _boot(values, as_json, log_unclaimed)
    except RingletError as error:
        if as_json:
            _print_json({"exit": {"reason": "error", "status": CANNOT}, "error": error.message})
        raise


def _boot(values: dict[str, Any], as_json: bool, log_unclaimed: bool) -> int:
    config = from_mapping(values)
    start = _start()
    if config.serial == "pipe":
        raise ConfigError("a serial line of `pipe` is for programs", "name stdio, pty or a file")
    with _ending_signals() as ending, ExitStack() as stack:
        machine = stack.enter_context(Machine(config, output_fd=2 if as_json else 1))
        ending.append(machine)
        if log_unclaimed:
            log = FdOutput(2, machine.control.stop_fd)  # a guest can flood it, too
            stack.callback(log.close)
            machine.unclaimed.log = lambda line: log.write(f"ringlet: {line}\r\n".encode())
        if machine.pty is not None:
            print(f"ringlet: serial line at {machine.pty}", file=sys.stderr)
        result = machine.run()
    # All is closed. A signal from here on is the process's, also while it waits to report.
    if as_json:
        _print_json(_as_json(machine, result, start))
    _explain(config.timeout, result)
    return result.status


@contextmanager
def _ending_signals() -> Iterator[list[Machine]]:
    """SIGTERM and its like end the run of the machine in this list, or else the process."""
    machines: list[Machine] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if not machines:
            sys.exit(128 + number)
        machines[0].control.finish(End("signal", 128 + number))

    before = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        # What our parent ignores, as nohup does, stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, on_signal)
    try:
        yield machines
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _explain(timeout: float | None, result: Result) -> None:
    """On standard error, for an end that a person would wonder at."""
    if result.crash is not None:
        what = f"the guest crashed: {result.reason}"
        if result.reason == INTERNAL_ERROR.reason:
            what = f"this host's KVM can't run `{result.crash.instruction}` of the guest"
        report(what, "its last state is below")
        for line in result.crash.lines():
            click.echo(f"  {line}", err=True)
    elif result.reason == TIMEOUT.reason:
        report(f"stopped after {timeout:g} seconds", "give it longer with --timeout")
    elif result.reason == "output-closed":
        report("the reader of the guest's output has gone", "send it to a file with --serial FILE")


def _start() -> int:
    """Where the timings start: CLOCK_MONOTONIC in nanoseconds."""
    outer = os.environ.get("RINGLET_START_NS", str(START_NS))
    try:
        return int(outer)
    except ValueError:
        raise ConfigError(
            f"RINGLET_START_NS={outer!r} is not a time", "give CLOCK_MONOTONIC in nanoseconds"
        ) from None


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


def _print_json(report: dict[str, Any]) -> None:
    import json

    click.echo(json.dumps(report, indent=2))
