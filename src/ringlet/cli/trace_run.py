"""`ringlet trace -- run`: shows each system call of a container, as it happens."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from math import inf

import click

from ringlet.cli.run import command as run_command
from ringlet.cli.trace_options import OUTPUT_OPTIONS, chosen_format
from ringlet.cli.tracing import Output
from ringlet.errors import ConfigError
from ringlet.observe.calls.call_event import CALLS, KINDS
from ringlet.observe.calls.call_tracer import CallTracer
from ringlet.observe.trace.filters import Filter, parse_period

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ringlet.container.container import Container

BUFFER = 20_000  # system calls: one takes at most some 6 KB, where a hostile program sees to that

EPILOG = """\b
Examples:
  ringlet trace -- run rootfs ls                       each system call, with its arguments
  ringlet trace --kind file --errors -- run rootfs ls  the files that it looks for in vain
  ringlet trace --call openat --call execve -- run --env A=1 rootfs sh -c 'ls | wc'
  ringlet trace --summary -- run rootfs ls             how many calls, and how long they took
  ringlet trace --json --output calls.jsonl -- run rootfs ls

\b
The trace goes to standard error, or to --output. It begins with the command's execve: what ringlet
does before isn't in it. A call takes several microseconds longer than without a trace; what else
a trace changes is said in docs/system-calls.md.
"""

_CALL_OPTIONS: list[click.Parameter] = [
    click.Option(
        ["--kind", "kinds"],
        multiple=True,
        type=click.Choice(KINDS),
        help="Only calls of this kind. May be given again.",
    ),
    click.Option(
        ["--call", "calls"],
        multiple=True,
        metavar="NAME",
        help="Only calls of this name, such as openat. May be given again.",
    ),
    click.Option(
        ["--process", "processes"],
        multiple=True,
        type=click.IntRange(1),
        metavar="N",
        help="Only this process, by its id in the container. May be given again.",
    ),
    click.Option(["--errors", "only_errors"], is_flag=True, help="Only calls that fail."),
]


def _trace(words: tuple[str, ...], **options: Any) -> int:
    """Run a command in a container, and show each of its system calls as it happens.

    A call is shown with its process, its arguments in words, its result or the name of its error,
    and how long it took. A summary comes at the end. Options of `ringlet run` stand behind `run`.
    """
    since, until = parse_period(options["time"] or "0-")
    wanted = Filter(
        kinds=frozenset(options["kinds"]),
        groups=_checked(options["calls"]),
        actors=frozenset(options["processes"]),
        since=since,
        until=until,
        most=options["count"] or inf,
    )
    observer = CallTrace(
        wanted,
        only_errors=options["only_errors"],
        only_summary=options["only_summary"],
        format=chosen_format(options["format"], as_json=options["as_json"]),
        output=options["output"],
        buffer=options["buffer"],
    )
    status: int = run_command.main(
        list(words[1:]), prog_name="ringlet run", standalone_mode=False, obj=observer
    )
    return status


def _checked(names: tuple[str, ...]) -> frozenset[str]:
    """Returns the names. Raises `ConfigError` if there is no such call."""
    if names:
        from ringlet.container.seccomp.call_names import CallNames
        from ringlet.errors import near
        from ringlet.observe.calls.signatures import SIGNATURES

        known = CallNames()
        for name in names:
            if not known.has(name):
                raise ConfigError(
                    f"there is no system call {name!r}",
                    near(name, SIGNATURES, "`man 2 syscalls` lists those of Linux"),
                )
    return frozenset(names)


class CallTrace(Output):
    """An observer of a run that traces the system calls of the container."""

    def __init__(self, wanted: Filter, *, only_errors: bool, **options: Any) -> None:
        super().__init__(CALLS, **options)
        self._wanted = wanted
        self._only_errors = only_errors
        self._unfollowed = 0

    @contextmanager
    def watch(self, container: Container) -> Iterator[None]:
        """Traces `container`, which isn't started yet, to its end."""
        take = self.begin(" ".join(container.config.command), container.kill)
        tracer = CallTracer(container, self._wanted, take, only_errors=self._only_errors)
        self.end(tracer.summary)
        with tracer:
            yield
        self._unfollowed = tracer.unfollowed

    def close(self) -> None:
        """Writes the rest, and tells of processes that the trace lacks."""
        super().close()
        if self._unfollowed:
            many = self._unfollowed > 1
            print(
                f"ringlet: {self._unfollowed} process{'es' if many else ''} of the container "
                f"{'are' if many else 'is'} missing in the trace, made with CLONE_UNTRACED",
                file=sys.stderr,
            )


def _with_buffer(option: click.Parameter) -> click.Parameter:
    """Returns the option; for --buffer, one with the default of this trace."""
    if option.name != "buffer":
        return option
    assert isinstance(option, click.Option)
    return click.Option(
        option.opts,
        type=option.type,
        default=BUFFER,
        show_default=True,
        metavar=option.metavar,
        help=option.help,
    )


command = click.Command(
    "trace",
    callback=_trace,
    params=[
        click.Argument(["words"], nargs=-1, type=click.UNPROCESSED, metavar="-- run ROOTFS CMD"),
        *_CALL_OPTIONS,
        *map(_with_buffer, OUTPUT_OPTIONS),
    ],
    help=_trace.__doc__,
    epilog=EPILOG,
    context_settings={"allow_interspersed_args": False},
)
