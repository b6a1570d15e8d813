"""Serves a guest to GDB: the option `--gdb` of `ringlet boot` and `ringlet debug`."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import contextmanager

from ringlet.machine.guests import find_image
from ringlet.observe.debug.debugger import Debugger
from ringlet.observe.gdb.server import GdbServer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringlet.machine.machine import Machine


class GdbService:
    """An observer for `attend` that serves the machine to GDB at the TCP port or path `where`.

    With `wait`, the guest stands still at its first instruction until GDB lets it go on.
    """

    def __init__(self, where: str, *, wait: bool = True) -> None:
        self._where = where
        self._wait = wait

    def __enter__(self) -> GdbService:
        """Does nothing: the machine isn't made yet."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Does nothing: the service is over."""

    @contextmanager
    def watch(self, machine: Machine) -> Iterator[Debugger]:
        """Serves `machine`, and says how to attach on standard error. Raises `RingletError`."""
        with (
            Debugger(machine, running=not self._wait) as debugger,
            GdbServer(debugger, self._where, _complain) as server,
        ):
            attach = f"gdb {_symbol_file(machine)}-ex 'target remote {server.place}'"
            what = "the guest waits for GDB" if self._wait else "the guest runs, and GDB may attach"
            print(f"ringlet: {what}: {attach}", file=sys.stderr, flush=True)
            yield debugger


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
