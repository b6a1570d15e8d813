"""Serves a guest to GDB: the option `--gdb` of `ringlet boot` and `ringlet debug`."""

from __future__ import annotations

import os
import shlex
import sys

from ringlet.machine.guests import find_image
from ringlet.observe.debugger import Debugger
from ringlet.observe.gdb_server import GdbServer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import ExitStack

    from ringlet.machine.machine import Machine


def serve(stack: ExitStack, machine: Machine, where: str, *, wait: bool = True) -> Debugger:
    """Serves `machine`, which hasn't started, to GDB at the TCP port or the path `where`.

    Says how to attach, on standard error. With `wait`, the guest stands still at its first
    instruction until GDB lets it go on. `stack` ends the service. Raises `RingletError`.
    """
    debugger = stack.enter_context(Debugger(machine, running=not wait))
    server = stack.enter_context(GdbServer(debugger, where, _complain))
    attach = f"gdb {_symbol_file(machine)}-ex 'target remote {server.place}'"
    what = "the guest waits for GDB" if wait else "the guest runs, and GDB may attach"
    print(f"ringlet: {what}: {attach}", file=sys.stderr, flush=True)
    return debugger


def _complain(line: str) -> None:
    text = line if line.isprintable() else ascii(line)[1:-1]
    os.write(2, f"ringlet: GDB: {text}\r\n".encode())  # the terminal may be the guest's


def _symbol_file(machine: Machine) -> str:
    """Returns the file that has the guest's symbols as a word for the shell, or "" if none has."""
    image = machine.config.image
    if isinstance(image, bytes):
        return ""
    path = find_image(os.fspath(image))
    debug = os.path.splitext(path)[0] + ".debug"
    if os.path.isfile(debug):
        return f"{shlex.quote(debug)} "
    with open(path, "rb") as file:
        return f"{shlex.quote(path)} " if file.read(4) == b"\x7fELF" else ""
