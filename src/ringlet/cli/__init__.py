"""The command line of ringlet: reads the arguments, and runs the command that they name."""

from __future__ import annotations

import os
import sys

from ringlet.cli import began  # noqa: F401 (before all else)
from ringlet.cli.answer import answer
from ringlet.host.standard_streams import fill_standard_streams

TYPE_CHECKING = False  # not imported: `typing` takes as long to import as Python takes to start
if TYPE_CHECKING:
    from ringlet.kvm.vm import Vm


def main() -> None:
    """Runs the program, and ends the process with a status of the table in docs/design.md."""
    try:  # noqa: SIM105 - contextlib is one more module
        fill_standard_streams()
    except OSError:
        pass  # this system has no /dev/null: the streams stay closed
    status = run(sys.argv[1:])
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except OSError:
        sys.exit(status)  # Python itself reports the failed write
    # Everything is closed. Python's own shutdown would take a sixth of a short guest's run time.
    os._exit(status)


def run(arguments: list[str]) -> int:
    """Runs `ringlet ARGUMENTS`, and returns its exit status."""
    return answer(lambda: _run(arguments))


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["run"]:
        return _run_container(arguments)
    if arguments[:1] != ["boot"]:
        return _parse(arguments)
    from ringlet.kvm.ahead import make_vm

    vm = make_vm()
    try:
        from ringlet.cli import plain

        values = plain.parse(arguments[1:])
        if values is None:
            return _parse(arguments, vm)
        from ringlet.cli.foreground import boot

        return boot(values, vm=vm)
    finally:
        if vm is not None:
            vm.close()  # harmless if a machine has already closed the VM


def _run_container(arguments: list[str]) -> int:
    from ringlet.cli import plain

    values = plain.parse_run(arguments[1:])
    if values is None:
        return _parse(arguments)
    from ringlet.cli.run_foreground import run

    return run(values)


def _parse(arguments: list[str], vm: Vm | None = None) -> int:
    from ringlet.cli.group import run_group

    return run_group(arguments, vm)
