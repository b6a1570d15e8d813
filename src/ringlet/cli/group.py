"""The group of commands. Each command is a module of its own, imported when it is used."""

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

# The name of each command, and its description, so that `ringlet --help` imports no command.
COMMANDS = {
    "boot": "Boot a guest kernel.",
    "trace": "Show each exit of a VM, or each system call of a container, as it happens.",
    "debug": "Debug a guest kernel: step through it, stop it, and look inside.",
    "doctor": "Say what this host can do, and how to get what is missing.",
    "inspect": "Say what an image is, and how ringlet would boot it.",
    "guests": "List the guest kernels that come with ringlet.",
    "new": "Make a folder for a guest kernel of your own.",
    "lab": "Learn by exercises, which a grader checks.",
    "initramfs": "Make an initramfs: the small system that a Linux kernel starts with.",
    "run": "Run a command in a container.",
    "compare": "Show, on this machine, how a process, a container and a VM differ.",
    "nested": "Run a command in an emulated machine that has a hardware KVM.",
}


COMPLETE = "_RINGLET_COMPLETE"  # the variable by which shells ask for completion


class NearGroup(click.Group):
    """A group that answers an unknown command with a similar one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command. For an unknown word, the error's hint names a similar command."""
        word = args[0]
        known = self.list_commands(ctx)
        if word not in known and not word.startswith("-") and not ctx.resilient_parsing:
            others = f"`{ctx.command_path} --help` shows the commands: {', '.join(known)}"
            raise RingletError(f"there is no command {word!r}", near(word, known, others))
        return super().resolve_command(ctx, args)


class LateGroup(NearGroup):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names of all commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Returns the function `command` of the module `cmd_name`."""
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"ringlet.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command. Handles a broken pipe, for which click would return status 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            return output_closed()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands, from the table alone."""
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
    """Run code in a virtual machine or in a container, and look inside."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run_group(arguments: list[str], vm: Vm | None = None) -> int:
    """Parses `arguments` by click, runs the command, and returns its exit status.

    `vm` is a VM that was made ahead, for `ringlet boot`.
    """
    if COMPLETE in os.environ:
        from ringlet.cli import completion  # noqa: F401 (it registers what click lacks)
    try:
        result = cli.main(arguments, prog_name="ringlet", standalone_mode=False, obj=vm)
        return result if isinstance(result, int) else 0
    except click.UsageError as error:
        from ringlet.cli.usage_errors import explain

        words = [word for word in arguments[:1] if word in COMMANDS]
        report(*explain(error, " ".join(["ringlet", *words])))
    except click.ClickException as error:
        report(error.format_message(), "`ringlet --help` shows what there is")
    except click.Abort:
        return INTERRUPTED
    return CANNOT
