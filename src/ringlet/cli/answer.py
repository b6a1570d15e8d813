"""How the command line says what went wrong: two lines on standard error, and a status."""

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
    """What happened, what to do, and then what else there is to know.

    Where nobody can read it, the status has to do.
    """
    import click  # a command that goes well may have done without

    name = click.style("ringlet:", fg="red", bold=True)
    lines = [
        f"{name} {_one_line(message)}",
        f"   {click.style('hint:', fg='cyan')} {_one_line(hint)}",
    ]
    with suppress(OSError):
        click.echo("\n".join([*lines, *details]), err=True)


def print_json(report: dict[str, Any]) -> None:
    """For programs, on standard output."""
    import json

    print(json.dumps(report, indent=2), flush=True)


def _one_line(text: str) -> str:
    """`text`, in which a name may have brought line breaks or a terminal's escape sequences."""
    return text if text.isprintable() else ascii(text)[1:-1]


def answer(command: Callable[[], int]) -> int:
    """The status of `command`, of which a failure is one, too."""
    try:
        return command()
    except RingletError as error:
        report(error.message, error.hint)
        return error.status
    except BrokenPipeError:
        return output_closed()
    except Interrupted as signal:
        return signal.status
    except (MemoryError, ImportError, SystemError) as error:  # as the import of a library says it
        with suppress(OSError):  # what makes it pretty takes memory
            os.write(2, f"ringlet: there is not enough memory: {error}\n".encode())
            os.write(2, b"   hint: give it more: ulimit -v\n")
    except OSError as error:
        report(f"the system refused: {error}", "look at `ulimit -n`, memory and disk space")
    except KeyboardInterrupt:
        return INTERRUPTED
    return CANNOT


def output_closed() -> int:
    """The status where whoever read our own output has gone: nothing is left to say."""
    sys.stdout = None
    return OUTPUT_CLOSED
