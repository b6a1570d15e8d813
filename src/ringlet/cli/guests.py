"""`ringlet guests`: lists the guest kernels that come with ringlet."""

from __future__ import annotations

import click

from ringlet.machine.guests import guests


@click.command("guests", epilog="Boot one with: ringlet boot NAME")
@click.option("--json", "as_json", is_flag=True, help="Write the same as JSON, for programs.")
def command(as_json: bool) -> None:
    """List the guest kernels that come with ringlet, each with what it shows."""
    found = guests()
    if as_json:
        import json

        rows = [{"name": g.name, "path": g.path, "summary": g.summary} for g in found]
        click.echo(json.dumps(rows, indent=2))
        return
    width = max(len(guest.name) for guest in found)
    for guest in found:
        click.echo(f"{click.style(guest.name.ljust(width), bold=True)}  {guest.summary}")
