"""`ringlet trace`: shows each exit of a VM, as it happens."""

from __future__ import annotations

import shlex
from math import inf

import click

from ringlet.cli import boot
from ringlet.cli.trace_options import OUTPUT_OPTIONS, chosen_format
from ringlet.errors import ConfigError, near
from ringlet.kvm.vcpu import KIND_NAMES
from ringlet.observe.trace.filters import Filter, parse_period, parse_range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ringlet.kvm.vm import Vm

EPILOG = """\b
Examples:
  ringlet trace hello                         each exit, with its instruction and its device
  ringlet trace blk --disk FILE --device virtio-block
  ringlet trace echo --address 0x3f8 --count 20
  ringlet trace hello --summary               how many exits, and how long they took
  ringlet trace hello --json --output trace.jsonl
  ringlet trace hello --format perfetto --output trace.json    for https://ui.perfetto.dev
  ringlet trace hello --format html --output trace.html        for a browser
  ringlet trace -- run rootfs ls              the system calls of a container, with options of
                                              its own: ringlet trace --help -- run

\b
The trace goes to standard error, the guest's output to standard output as ever. The columns
guest and KVM are estimates: docs/trace.md says how they are made. All options of
`ringlet boot` work here too, but for --json and --show.
"""

# The options of `ringlet boot` that have another meaning here, or none.
_NOT_OF_BOOT = ("as_json", "show", "trace")

_EXIT_OPTIONS: list[click.Parameter] = [
    click.Option(
        ["--kind", "kinds"],
        multiple=True,
        type=click.Choice(KIND_NAMES),
        metavar="KIND",
        help="Only exits of this kind, such as port or mmio. May be given again.",
    ),
    click.Option(
        ["--device", "devices"],
        multiple=True,
        metavar="NAME",
        help="Only accesses to this device: `ringlet boot IMAGE --show` lists them. May be given "
        "again.",
    ),
    click.Option(
        ["--address", "addresses"],
        multiple=True,
        metavar="ADDRESS[-ADDRESS]",
        help="Only accesses to these ports or addresses. May be given again.",
    ),
    click.Option(
        ["--vcpu", "vcpus"],
        multiple=True,
        type=click.IntRange(0),
        metavar="N",
        help="Only this vCPU. May be given again.",
    ),
]


def _trace(vm: Vm | None, /, **options: Any) -> int:
    """Boot IMAGE, and show each exit from the guest to ringlet as it happens.

    An exit is shown with the instruction that caused it, the device and the register behind the
    port or address, the value, and the time that was spent in the guest, in KVM and in ringlet.
    A summary comes at the end.
    """
    from ringlet.cli.tracing import ExitTrace

    since, until = parse_period(options.pop("time") or "0-")
    wanted = Filter(
        kinds=frozenset(options.pop("kinds")),
        groups=frozenset(options.pop("devices")),
        actors=frozenset(options.pop("vcpus")),
        addresses=tuple(map(parse_range, options.pop("addresses"))),
        since=since,
        until=until,
        most=options.pop("count") or inf,
    )
    observer = ExitTrace(
        wanted,
        format=chosen_format(options.pop("format"), as_json=options.pop("as_json")),
        only_summary=options.pop("only_summary"),
        output=options.pop("output"),
        buffer=options.pop("buffer"),
    )
    return boot.start(vm, observer=observer, **options)


class _Trace(click.Command):
    """`ringlet trace IMAGE`, or `ringlet trace -- run ROOTFS CMD`, which is another command."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parses the words: those before `--` are options, where `run` follows it."""
        if "--" in args and args[args.index("--") + 1 :][:1] == ["run"]:
            from ringlet.cli.trace_run import command

            return command.make_context(info_name, args, parent, **extra)
        words = list(args)  # click takes words out of `args`
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            _raise_if_of_calls(error, words)
            raise


def _raise_if_of_calls(error: click.UsageError, words: list[str]) -> None:
    """Raises `ConfigError` if `words` are meant to trace the system calls of a container."""
    from ringlet.cli.trace_run import command as of_calls

    behind = words[words.index("--") + 1 :] if "--" in words else []
    if behind and (hint := near(behind[0], ["run"])):
        raise ConfigError(f"{behind[0]} is no image, and no command behind --", hint) from error
    if "run" in words and not behind:
        words.insert(words.index("run"), "--")
        hint = f"`ringlet trace {shlex.join(words)}` traces the system calls of a container"
        raise ConfigError("a container is traced behind --", hint) from error
    if isinstance(error, click.NoSuchOption):
        name = error.option_name
        for each in of_calls.params:
            if isinstance(each, click.Option) and name in each.opts:
                option = name if each.is_flag else f"{name} {each.metavar or '...'}"
                raise ConfigError(
                    f"{name} is for the system calls of a container, and not for an image",
                    f"to trace a container: `ringlet trace {option} -- run ROOTFS COMMAND`",
                ) from error


command = _Trace(
    "trace",
    callback=click.pass_obj(_trace),
    params=[
        *(each for each in boot.command.params if each.name not in _NOT_OF_BOOT),
        *_EXIT_OPTIONS,
        *OUTPUT_OPTIONS,
    ],
    help=_trace.__doc__,
    epilog=EPILOG,
)
