"""Completes the name of an image on the command line: a guest's name, or a file."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import click


def complete_image(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """Returns the guests that come with ringlet whose names begin so, and lets files follow."""
    from click.shell_completion import CompletionItem

    from ringlet.machine.guests import guests

    names = [CompletionItem(g.name, help=g.summary) for g in guests()]
    found = [item for item in names if item.value.startswith(incomplete)]
    return [*found, CompletionItem(incomplete, type="file")]
