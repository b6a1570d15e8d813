"""`ringlet run`: runs a command in a container."""

from __future__ import annotations

import click

from ringlet.cli.file_type import FILE
from ringlet.errors import ConfigError, RingletError
from ringlet.host.settings import parse_size
from ringlet.host.workload import (
    NETWORKS,
    PIDS,
    parse_variable,
    read_toml,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ringlet.cli.run_foreground import Observer

EPILOG = """\b
Examples:
  ringlet run rootfs sh                          on a terminal: a shell
  ringlet run --write rootfs apk add curl        what it writes stays in rootfs
  ringlet run --memory 64M --cpus 0.5 rootfs ./work
  ringlet run --volume ./data:/data:ro --env LANG rootfs ls -l /data
  ringlet run --network host --user www rootfs httpd -f
  ringlet run --config run.toml --timeout 10 --json

\b
Options of ringlet end at the command: what follows the command is the command's own. Options may
also follow ROOTFS, and `--` may stand before the command.

\b
Signals go on to the command. The command is process 1 of the container, which Linux doesn't end by
a signal that it doesn't handle: so after SIGTERM it has 10 seconds (--stop-timeout) before it is
killed. A second SIGTERM, or a second Ctrl-C where it has no terminal, kills it at once.

\b
ROOTFS is a folder with the files of a Linux system. One of these makes it:
  sudo debootstrap --variant=minbase stable rootfs
  mkdir rootfs; podman export $(podman create alpine) | tar -x -C rootfs
docs/containers.md has more, also with busybox alone.

\b
Status: the command's; 128 + n if it died of signal n; 124 at the timeout; 125 if ringlet could
not do it; 126 and 127 if the command can't be run, or isn't there.
"""


class _Run(click.Command):
    """A command whose options end at COMMAND. ROOTFS may stand between the options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # in a completion, words may be missing
            return super().parse_args(ctx, args)
        before, rootfs, after = self._split(ctx, args)
        if rootfs and after[:1] and after[0].startswith("-"):
            options, command, words = self._split(ctx, after)
            if before[-1:] == ["--"]:
                before.pop()
            args = [*before, *options, *rootfs, *command, *words]  # in the order that click expects
        return super().parse_args(ctx, args)

    def _split(self, ctx: click.Context, args: list[str]) -> tuple[list[str], list[str], list[str]]:
        """Returns the options, the first word that isn't an option, if any, and the other words."""
        found, _, _ = self.make_parser(ctx).parse_args(list(args))
        first = [word for word in (found["rootfs"],) if isinstance(word, str)]
        rest = list(found["command"]) if isinstance(found["command"], tuple) else []
        return args[: len(args) - len(first) - len(rest)], first, rest


@click.command("run", cls=_Run, epilog=EPILOG, context_settings={"allow_interspersed_args": False})
@click.argument("rootfs", required=False, type=click.Path())
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--memory", metavar="SIZE", help="The most memory that the container may use, such as 64M."
)
@click.option(
    "--cpus",
    type=float,
    metavar="N",
    help="How much processor time the container gets; 0.5 is half of one processor.",
)
@click.option(
    "--pids",
    type=int,
    metavar="N",
    help=f"The most processes in the container; {PIDS} if not given, 0 or -1 for no limit.",
)
@click.option(
    "--volume",
    "volumes",
    metavar="HOST:GUEST[:ro|:rw]",
    type=FILE,
    multiple=True,
    help="A file or folder of the host that the container sees. May be given again.",
)
@click.option(
    "--env",
    "variables",
    metavar="NAME[=VALUE]",
    multiple=True,
    help="A variable of the environment. Without VALUE, it has the value that it has here. May be "
    "given again.",
)
@click.option(
    "--workdir", metavar="PATH", help="The folder in which the command starts; / if not given."
)
@click.option(
    "--user",
    metavar="USER[:GROUP]",
    help="The user of the container that runs the command; root if not given.",
)
@click.option(
    "--hostname", metavar="NAME", help="The host name in the container; ringlet if not given."
)
@click.option(
    "--network", type=click.Choice(NETWORKS), help="The network: none (the default), or the host's."
)
@click.option(
    "--read-only", is_flag=True, default=None, help="The container can't write to its root."
)
@click.option(
    "--write",
    is_flag=True,
    default=None,
    help="Keep in ROOTFS what the container writes. Without --write, that is lost at the end.",
)
@click.option(
    "--tty/--no-tty",
    default=None,
    help="Whether the command has a terminal. If not given: if ringlet has one.",
)
@click.option(
    "--timeout",
    type=float,
    metavar="SECONDS",
    help="Kill the container after so many seconds, with status 124.",
)
@click.option(
    "--stop-timeout",
    type=float,
    metavar="SECONDS",
    help="How long the container has after SIGTERM before it is killed; 10 if not given.",
)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(),
    help="A TOML file with the options that aren't given here.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Write a report on the run to standard output, as JSON."
)
@click.pass_obj
def command(
    observer: Observer | None,
    /,
    config: str | None,
    as_json: bool,
    rootfs: str | None,
    command: tuple[str, ...],
    memory: str | None,
    volumes: tuple[str, ...],
    variables: tuple[str, ...],
    **options: Any,
) -> int:
    """Run COMMAND in a container whose root is the folder ROOTFS.

    It has namespaces of its own, few capabilities, a seccomp filter and a limit on processes; it
    sees no process, network or file of the host but what it is given.
    """
    from ringlet.cli.answer import print_json
    from ringlet.cli.run_foreground import run

    try:
        values = {} if config is None else read_toml(config)
        values |= {key: value for key, value in options.items() if value is not None}
        if rootfs is not None:
            values["rootfs"] = rootfs
        if command:
            values["command"] = command
        if memory is not None:
            values["memory"] = parse_size(memory)
        if volumes:
            values["volumes"] = volumes
        if variables:
            values["env"] = values.get("env", {}) | dict(map(parse_variable, variables))
        if "rootfs" not in values:
            raise ConfigError(
                "no rootfs is named",
                "name a folder with a system in it: ringlet run ROOTFS sh; --help says what makes "
                "one",
            )
        values.setdefault("command", ())
        return run(values, as_json=as_json, observer=observer)
    except RingletError as error:
        if as_json:
            exit = {"reason": "error", "status": error.status}
            print_json({"exit": exit, "error": error.message})
        raise
