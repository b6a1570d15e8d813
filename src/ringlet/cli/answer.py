"""The command line's answer to a failure: two lines on standard error, and an exit status."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from ringlet.errors import RingletError
from ringlet.host.interrupt import Interrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

CANNOT = 125
INTERRUPTED = 130
OUTPUT_CLOSED = 141


def report(message: str, hint: str, details: Iterable[str] = ()) -> None:
    """Prints on standard error what happened, what to do about it, and then `details`.

    If standard error can't be written, the exit status is the only report.
    """
    import click  # imported here: a command that succeeds may not need click

    name = click.style("ringlet:", fg="red", bold=True)
    lines = [
        f"{name} {_one_line(message)}",
        f"   {click.style('hint:', fg='cyan')} {_one_line(hint)}",
    ]
    with suppress(OSError):
        click.echo("\n".join([*lines, *details]), err=True)


def print_json(report: dict[str, Any] | list[dict[str, Any]]) -> None:
    """Prints `report` on standard output as JSON, for programs."""
    import json

    print(json.dumps(report, indent=2), flush=True)


def _one_line(text: str) -> str:
    """Returns `text` without the line breaks and escape sequences that a name in it may hold."""
    return text if text.isprintable() else ascii(text)[1:-1]


def answer(command: Callable[[], int]) -> int:
    """Runs `command`, and returns its exit status, also if `command` fails with an exception."""
    try:
        return command()
    except RingletError as error:
        report(error.message, error.hint)
        return error.status
    except BrokenPipeError:
        return output_closed()
    except Interrupted as signal:
        return signal.status
    except (MemoryError, ImportError, SystemError) as error:  # an import without memory
        with suppress(OSError):  # `report` would need more memory
            os.write(2, f"ringlet: there is not enough memory: {error}\n".encode())
            os.write(2, b"   hint: give it more: ulimit -v\n")
    except OSError as error:
        report(f"the system refused: {error}", "look at `ulimit -n`, memory and disk space")
    except KeyboardInterrupt:
        return INTERRUPTED
    return CANNOT


def output_closed() -> int:
    """Returns the exit status for a closed standard output, on which nothing more is printed."""
    sys.stdout = None
    return OUTPUT_CLOSED
