"""The group of commands. Each command is a module of its own, imported when used."""

from __future__ import annotations

import os
from importlib import import_module

import click

from ringlet.cli.answer import CANNOT, INTERRUPTED, output_closed, report
from ringlet.errors import RingletError, near

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ringlet.kvm.vm import Vm

# Name and, so that `ringlet --help` imports none of them, what the command does.
COMMANDS = {
    "boot": "Boot a guest kernel.",
    "doctor": "Say what this host can do, and how to get what is missing.",
    "guests": "List the guest kernels that come with ringlet.",
    "initramfs": "Make the small system that a Linux kernel starts with.",
    "run": "Run a command in a container.",
    "compare": "Show, on this machine, how a process, a container and a VM differ.",
    "nested": "Run a command in an emulated machine that has a hardware KVM.",
}


COMPLETE = "_RINGLET_COMPLETE"  # the variable by which shells ask for completion


class LateGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All of them, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The function `command` of the module of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"ringlet.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command. For a word that is none, the error's hint names the near one."""
        word = args[0]
        if word not in COMMANDS and not word.startswith("-") and not ctx.resilient_parsing:
            others = f"`ringlet --help` shows the commands: {', '.join(COMMANDS)}"
            raise RingletError(f"there is no command {word!r}", near(word, COMMANDS) + others)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """The command. A broken pipe is answered before click makes a status of 1 of it."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            return output_closed()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LateGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with: ringlet doctor, then: ringlet boot hello",
)
@click.version_option(package_name="ringlet", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """A KVM micro-hypervisor in Python: boots tiny guests and Linux."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _near_choice(error: click.UsageError) -> str:
    """Of an option whose values are few: a hint at the near one. Click looks for options itself."""
    kind = error.param.type if isinstance(error, click.BadParameter) and error.param else None
    if not isinstance(kind, click.Choice):
        return ""
    word = error.message.split("'")[1:2]  # click quotes the word first
    return near(word[0], kind.choices) if word else ""


def run_group(arguments: list[str], vm: Vm | None = None) -> int:
    """The status of a command that click parses. `vm` was made ahead, for `ringlet boot`."""
    if COMPLETE in os.environ:
        from ringlet.cli import completion  # noqa: F401 (it registers what click lacks)
    try:
        result = cli.main(arguments, prog_name="ringlet", standalone_mode=False, obj=vm)
        return result if isinstance(result, int) else 0
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "ringlet"
        meant = _near_choice(error)
        report(error.format_message(), f"{meant}`{path} --help` shows what there is")
    except click.ClickException as error:
        report(error.format_message(), "`ringlet --help` shows what there is")
    except click.Abort:
        return INTERRUPTED
    return CANNOT
