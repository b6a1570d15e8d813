"""`ringlet run`: a command in a container."""

from typing import Any

import click

from ringlet.errors import ConfigError, RingletError
from ringlet.host.settings import parse_size
from ringlet.host.workload import (
    NETWORKS,
    PIDS,
    parse_variable,
    read_toml,
)

EPILOG = """\b
Examples:
  ringlet run rootfs sh                          on a terminal: a shell
  ringlet run --write rootfs apk add curl        what it writes stays in rootfs
  ringlet run --memory 64M --cpus 0.5 rootfs ./work
  ringlet run --volume ./data:/data:ro --env LANG rootfs ls -l /data
  ringlet run --network host --user www rootfs httpd -f
  ringlet run --config run.toml --timeout 10 --json

\b
Options end at the command: `ls -l` gets its own. They may follow ROOTFS, too, and `--` may stand
before the command.

\b
Signals go on to the command. One that is process 1 of a container and doesn't handle a signal
isn't ended by it: so after SIGTERM it has 10 seconds (--stop-timeout) before it is killed, and a
second SIGTERM, or a second Ctrl-C where it has no terminal, kills it at once.

\b
Status: the command's; 128 + n if it died of signal n; 124 at the timeout; 125 if ringlet could
not do it; 126 and 127 if the command can't be run, or isn't there.
"""


class _Run(click.Command):
    """Its options end at COMMAND, which has its own; ROOTFS may stand among them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        before, rootfs, after = self._split(ctx, args)
        if rootfs and after[:1] and after[0].startswith("-"):
            options, command, words = self._split(ctx, after)
            if before[-1:] == ["--"]:
                before.pop()
            args = [*before, *options, *rootfs, *command, *words]  # as click has them
        return super().parse_args(ctx, args)

    def _split(self, ctx: click.Context, args: list[str]) -> tuple[list[str], list[str], list[str]]:
        """The options, the first word that is none, if there is one, and the rest."""
        found, _, _ = self.make_parser(ctx).parse_args(list(args))
        first = [word for word in (found["rootfs"],) if isinstance(word, str)]
        rest = list(found["command"]) if isinstance(found["command"], tuple) else []
        return args[: len(args) - len(first) - len(rest)], first, rest


@click.command("run", cls=_Run, epilog=EPILOG, context_settings={"allow_interspersed_args": False})
@click.argument("rootfs", required=False, type=click.Path())
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--memory", metavar="SIZE", help="The most RAM it may use, such as 64M.")
@click.option("--cpus", type=float, metavar="N", help="Of how many processors it has the time.")
@click.option(
    "--pids",
    type=int,
    metavar="N",
    help=f"Processes it may have: {PIDS} if not given, 0 or -1 for no limit.",
)
@click.option(
    "--volume",
    "volumes",
    metavar="HOST:GUEST[:ro|:rw]",
    multiple=True,
    help="Show it a file or folder of the host. May be given again.",
)
@click.option(
    "--env",
    "variables",
    metavar="NAME[=VALUE]",
    multiple=True,
    help="A variable, without a value as it is here. May be given again.",
)
@click.option("--workdir", metavar="PATH", help="Where the command starts; / if not given.")
@click.option("--user", metavar="USER[:GROUP]", help="Who it is, in there; root if not given.")
@click.option("--hostname", metavar="NAME", help="What it is called; ringlet if not given.")
@click.option("--network", type=click.Choice(NETWORKS), help="none (the default), or the host's.")
@click.option("--read-only", is_flag=True, default=None, help="Its root can't be written.")
@click.option(
    "--write", is_flag=True, default=None, help="Keep in ROOTFS what it writes; else it is lost."
)
@click.option(
    "--tty/--no-tty", default=None, help="A terminal of its own: the default if we have one."
)
@click.option("--timeout", type=float, metavar="SECONDS", help="Kill it, with status 124.")
@click.option(
    "--stop-timeout",
    type=float,
    metavar="SECONDS",
    help="What it has from a SIGTERM to its end before it is killed; 10 if not given.",
)
@click.option("--config", metavar="FILE", type=click.Path(), help="TOML for what isn't given here.")
@click.option("--json", "as_json", is_flag=True, help="Report on the run, on standard output.")
def command(
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
    from ringlet.cli.container import run
    from ringlet.cli.report import print_json

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
            raise ConfigError("no rootfs is named", "name a folder: ringlet run ROOTFS -- sh")
        values.setdefault("command", ())
        return run(values, as_json=as_json)
    except RingletError as error:
        if as_json:
            exit = {"reason": "error", "status": error.status}
            print_json({"exit": exit, "error": error.message})
        raise
