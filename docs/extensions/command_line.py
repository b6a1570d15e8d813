"""The reference of the command lines, from the commands' own help.

In a page, `<!-- commands of ringlet -->` and `<!-- commands of ringlet-oci -->` stand for it.
"""

import inspect
import re
from collections.abc import Iterable

import click
from sphinx.application import Sphinx

from ringlet.cli.group import cli
from ringlet.oci.commands import COMMANDS
from ringlet.oci.main import GLOBAL
from ringlet.oci.options import HELP, Option

MARK = re.compile(r"^<!-- commands of ([\w-]+) -->$", re.MULTILINE)


def _text(text: str) -> str:
    """Returns `text` as one line, in which nothing is markup but `code`."""
    return re.sub(r"([<*_\[\]])", r"\\\1", " ".join(text.split()))


def _list(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Returns a definition list of options."""
    return [line for left, right in rows for line in (f"`{left}`", f": {_text(right)}", "")]


def _block(kind: str, text: str) -> list[str]:
    return [f"```{kind}", text.strip("\n"), "```", ""]


def _click_command(
    command: click.Command, context: click.Context, heading: str = "##"
) -> list[str]:
    records = [param.get_help_record(context) for param in command.get_params(context)]
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    lines = [f"{heading} {context.command_path}", ""]
    lines += [inspect.cleandoc(command.help or "").replace("\b", ""), "", *_block("text", usage)]
    lines += _list(record for record in records if record and record[1])
    lines += _block("text", command.epilog.replace("\b\n", "")) if command.epilog else []
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            lines += _click_command(
                below, click.Context(below, context, info_name=name), f"{heading}#"
            )
    return lines


def ringlet() -> str:
    """Returns the reference of `ringlet`, as Markdown."""
    top = click.Context(cli, info_name="ringlet", **cli.context_settings)
    lines: list[str] = []
    for name in cli.list_commands(top):
        command = cli.get_command(top, name)
        assert command
        context = click.Context(command, top, info_name=name, **command.context_settings)
        lines += _click_command(command, context)
    return "\n".join(lines)


def _oci_option(option: Option) -> tuple[str, str]:
    names = ", ".join(("-" if len(name) == 1 else "--") + name for name in option.names)
    return f"{names} {option.value}" if option.value else names, option.help


def ringlet_oci() -> str:
    """Returns the reference of `ringlet-oci`, as Markdown."""
    lines = ["## ringlet-oci", "", "These options stand before the command.", ""]
    lines += _list(map(_oci_option, (*GLOBAL, HELP)))
    for name, command in COMMANDS.items():
        lines += [f"### ringlet-oci {name}", "", f"{command.help}.", ""]
        lines += _block("text", f"ringlet-oci {name} [OPTIONS] {command.usage}")
        lines += _list(map(_oci_option, (*command.options, HELP)))
        lines += _block("console", "\n".join(f"$ {line}" for line in command.example.splitlines()))
    return "\n".join(lines)


REFERENCES = {"ringlet": ringlet, "ringlet-oci": ringlet_oci}


def add_reference(app: Sphinx, docname: str, source: list[str]) -> None:
    """Puts the reference in place of its mark."""
    source[0] = MARK.sub(lambda mark: REFERENCES[mark[1]](), source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", add_reference)
    return {"parallel_read_safe": True}
