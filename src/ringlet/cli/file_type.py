"""The type of an option whose value begins with a path: shells complete the path."""

from __future__ import annotations

import click

TYPE_CHECKING = False
if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class FileType(click.types.StringParamType):
    """Any text. Unlike `click.Path`, it doesn't look at the file: more may follow the path."""

    def __init__(self, *, folder: bool = False) -> None:
        self.name = "dir" if folder else "file"  # the words of click's scripts for shells

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Lets the shell offer files, or folders."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type=self.name)]


FILE = FileType()
FOLDER = FileType(folder=True)
