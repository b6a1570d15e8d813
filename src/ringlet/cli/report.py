"""How the command line says what went wrong: two lines on standard error, and a status."""

from collections.abc import Callable

from ringlet.errors import RingletError

CANNOT = 125
INTERRUPTED = 130


def report(message: str, hint: str) -> None:
    """What happened, and what to do."""
    import click  # a command that goes well may have done without

    name = click.style("ringlet:", fg="red", bold=True)
    click.echo(f"{name} {_one_line(message)}", err=True)
    click.echo(f"   {click.style('hint:', fg='cyan')} {_one_line(hint)}", err=True)


def _one_line(text: str) -> str:
    """`text`, in which a name may have brought line breaks or a terminal's escape sequences."""
    return text if text.isprintable() else ascii(text)[1:-1]


def answer(command: Callable[[], int]) -> int:
    """The status of `command`, of which a failure is one, too."""
    try:
        return command()
    except RingletError as error:
        report(error.message, error.hint)
        return CANNOT
    except KeyboardInterrupt:
        return INTERRUPTED
