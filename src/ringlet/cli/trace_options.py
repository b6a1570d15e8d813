"""The options of both traces: how many events to show, in which format, and where to."""

from __future__ import annotations

import click

from ringlet.errors import ConfigError
from ringlet.observe.trace.formats import NAMES
from ringlet.observe.trace.recorder import BUFFER

OUTPUT_OPTIONS: list[click.Parameter] = [
    click.Option(
        ["--count"], type=click.IntRange(1), metavar="N", help="Show no more than N events."
    ),
    click.Option(
        ["--time"],
        metavar="FROM-UNTIL",
        help="Only these seconds of the run, such as 0.5-2, 0.5- or -2.",
    ),
    click.Option(["--summary", "only_summary"], is_flag=True, help="Show nothing but the summary."),
    click.Option(["--json", "as_json"], is_flag=True, help="The same as --format json."),
    click.Option(
        ["--format"],
        type=click.Choice(NAMES),
        help="Lines for people (text, the default); JSON lines; the format of Perfetto and Chrome; "
        "one page with a timeline.",
    ),
    click.Option(
        ["--output"], metavar="FILE", type=click.Path(), help="Write the trace to this file."
    ),
    click.Option(
        ["--buffer"],
        type=click.IntRange(1),
        default=BUFFER,
        show_default=True,
        metavar="N",
        help="How many events wait in memory for a slow reader. More are lost, and counted.",
    ),
]


def chosen_format(format: str | None, *, as_json: bool) -> str:
    """Returns the format that --format and --json ask for. Raises `ConfigError` for two."""
    if as_json and format not in (None, "json"):
        raise ConfigError(f"--json and --format {format} are two formats", "leave one out")
    return "json" if as_json else format or "text"
