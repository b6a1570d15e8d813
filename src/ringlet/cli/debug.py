"""`ringlet debug`: a debugger for a guest, in the terminal or for a script."""

from __future__ import annotations

import sys
from contextlib import suppress
from io import TextIOWrapper

import click

from ringlet.cli.machine_options import machine_options, machine_values
from ringlet.errors import ConfigError, RingletError
from ringlet.host.interrupt import Interrupted
from ringlet.host.signals import Handlers
from ringlet.machine.config import from_mapping
from ringlet.machine.guests import which_image
from ringlet.machine.machine import Machine
from ringlet.observe.console.console import COMMANDS, PROMPT, Console, GuestLines
from ringlet.observe.console.session import Session
from ringlet.observe.debug.debugger import debug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

FAILED = 1  # the status if a command of a script failed
MAX_SCRIPT = 1 << 20  # bytes
_SERIAL = "lines of this conversation (the default), pty, none, or a file for its output"

EPILOG = """\b
Examples:
  ringlet debug rings                       the guest stands at its first instruction
  ringlet debug rings -x 'step mode' -x registers
  ringlet debug kernel.elf --script lesson.txt --source ~/kernel
  ringlet debug kernel.elf --gdb 1234       then: gdb kernel.elf -ex 'target remote :1234'

\b
The debugger's `help` shows its commands. Ctrl-C stops the guest. docs/debug.md is a lesson.

\b
Status: 0; 1 if a command of --script or -x failed, which ends the script; 125 if ringlet could not
do it.
"""


@click.command("debug", epilog=EPILOG)
@machine_options(_SERIAL)
@click.option(
    "-x",
    "commands",
    metavar="COMMAND",
    multiple=True,
    help="Run this command of the debugger, then end. May be given again.",
)
@click.option(
    "--script",
    metavar="FILE",
    type=click.Path(),
    help="Run the debugger's commands in FILE, then end.",
)
@click.option(
    "--source",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False),
    default=".",
    help="The folder with the guest's source files; the current folder if not given.",
)
@click.option(
    "--gdb",
    metavar="PORT|PATH",
    help="Serve the guest to GDB instead, on this machine only, at a TCP port or a Unix socket.",
)
@click.option("--no-wait", is_flag=True, help="With --gdb: the guest runs until GDB attaches.")
def command(
    commands: tuple[str, ...],
    script: str | None,
    source: str,
    gdb: str | None,
    no_wait: bool,
    **options: Any,
) -> int:
    """Debug the guest IMAGE: step, break, and look inside.

    The guest starts stopped, at its first instruction. What it writes to its serial port is shown
    in lines that begin with `guest| `.
    """
    if gdb is not None:
        if script is not None or commands:
            raise ConfigError("--gdb takes no commands", "give them to GDB: gdb -x FILE")
        return _serve(machine_values(options), gdb, wait=not no_wait)
    if no_wait:
        raise ConfigError("--no-wait goes with --gdb", "leave it out, or name a port with --gdb")
    lines = None if script is None and not commands else [*_read_script(script), *commands]
    values = machine_values(options)
    guest = None
    if values.get("serial") is None:
        guest = GuestLines(_show)
        values["serial"] = guest
    elif values["serial"] in ("stdio", "pipe"):
        raise ConfigError(
            f"--serial {values['serial']} isn't for a debugger, whose commands come from there",
            "leave it out, or name pty or a file",
        )
    config = from_mapping(values, "debug")
    if isinstance(config.image, str) and (note := which_image(config.image)):
        print(f"ringlet: {note}", file=sys.stderr)
    with Machine(config) as machine, debug(machine) as debugger:
        for number, line in enumerate(machine.lines, 1):
            if line.host.path is not None:
                print(f"ringlet: COM{number} at {line.host.path}", file=sys.stderr)
        with Console(Session(machine, debugger, source), _show, guest) as console:
            try:
                return _talk(console, lines)
            finally:
                debugger.kill()


def _serve(values: dict[str, Any], gdb: str, *, wait: bool) -> int:
    from ringlet.cli.foreground import boot
    from ringlet.cli.gdb import GdbService

    return boot(values, observer=GdbService(gdb, wait=wait), command="debug")


def _show(line: str) -> None:
    print(line, flush=True)


def _read_script(path: str | None) -> list[str]:
    if path is None:
        return []
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_SCRIPT + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise RingletError(f"the script {path} can't be read: {why}", "check the path") from error
    if len(text) > MAX_SCRIPT:
        raise RingletError(f"the script {path} is larger than 1 MiB", "make it shorter")
    return text.splitlines()


def _talk(console: Console, lines: list[str] | None) -> int:
    """Does the commands `lines`, or else those of standard input; returns the status."""
    import signal

    reading = False
    is_terminal = sys.stdin.isatty()

    def on_signal(number: int, frame: object) -> None:
        if reading:
            raise KeyboardInterrupt if number == signal.SIGINT else Interrupted(number)
        if number == signal.SIGINT:
            console.interrupt()
        else:
            console.end(number)

    def read() -> str:
        nonlocal reading
        reading = True
        try:
            console.check_end()  # the signal came since the last command
            if is_terminal:
                return input(PROMPT)
            line = sys.stdin.readline()
        finally:
            reading = False
        if not line:
            raise EOFError
        return line

    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, TextIOWrapper):  # no byte of a command and no name is an error
            stream.reconfigure(errors="backslashreplace")
    with Handlers((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), on_signal):
        console.start()
        if lines is None and is_terminal:
            _set_up_readline(console)
            console.talk(read)
            return 0
        return 0 if console.script(_lines(read) if lines is None else lines) else FAILED


def _lines(read: Callable[[], str]) -> Iterator[str]:
    with suppress(EOFError):
        while True:
            yield read()


def _set_up_readline(console: Console) -> None:
    """Gives the prompt history and completion, where this Python has readline.

    readline is a part of Python, takes 3 ms to import, and people know its keys. The library
    prompt_toolkit can do more, and takes longer to import than the whole debugger.
    """
    try:
        import readline
    except ImportError:
        return
    symbols = console.session.symbols.names()
    devices = [placed.name for placed in console.session.machine.devices]

    def complete(text: str, state: int) -> str | None:
        words = readline.get_line_buffer()[: readline.get_begidx()].split()
        if not words:
            known = list(COMMANDS)
        elif words[0] in ("devices", "dev"):
            known = devices
        elif words[0] in ("help", "h", "?"):
            known = list(COMMANDS)
        else:
            known = symbols
        fitting = [word for word in known if word.startswith(text)]
        return fitting[state] + " " if state < len(fitting) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" \t")
    readline.parse_and_bind("tab: complete")
