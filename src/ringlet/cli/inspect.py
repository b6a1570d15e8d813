"""`ringlet inspect`: says what an image is, and how ringlet would boot it; runs nothing."""

from __future__ import annotations

import sys

import click

from ringlet.boot import PROTOCOLS
from ringlet.cli.answer import print_json
from ringlet.cli.image_names import complete_image
from ringlet.errors import ConfigError, ImageError, RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.observe.inspection.image_facts import ImageFacts

EPILOG = """\b
Examples:
  ringlet inspect hello                    a guest that comes with ringlet
  ringlet inspect kernel.elf --json | jq .segments
  ringlet inspect boot.img --protocol flat
  ringlet inspect /boot/vmlinuz --kernel-config | grep VIRTIO

\b
The devices of the machine that the image would get: ringlet boot IMAGE --show

\b
Status: 0; 125 if ringlet can't boot the image, whose facts are shown as far as they are known.
"""


@click.command("inspect", epilog=EPILOG)
@click.argument("image", shell_complete=complete_image)
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    help="Take the image as one of this protocol, whatever it looks like.",
)
@click.option("--json", "as_json", is_flag=True, help="Write the same as JSON, for programs.")
@click.option(
    "--kernel-config",
    is_flag=True,
    help="Write the whole configuration of a Linux kernel, and nothing else.",
)
def command(image: str, protocol: str | None, as_json: bool, kernel_config: bool) -> None:
    """Say what IMAGE is: a file, or the name of a guest that comes with ringlet.

    Shows its boot protocol and why ringlet chooses that, where it starts and with which
    instructions, its segments and notes, the memory that it needs, and what a Linux kernel says
    of itself. Nothing runs.
    """
    from ringlet.machine.guests import find_image
    from ringlet.observe.inspection.image_facts import examine

    if sys.stdout is not None:  # an image may hold letters that standard output can't encode
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if kernel_config and as_json:
        raise ConfigError("a kernel's configuration is text, not JSON", "leave --json out")
    try:
        facts, config = examine(find_image(image), protocol)
    except RingletError as error:
        if as_json:
            print_json({"name": image, "error": error.message, "hint": error.hint})
        raise
    if kernel_config:
        _print_config(facts, config)
        return
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins(facts))
    else:
        from ringlet.cli.image_table import print_facts

        print_facts(facts)
    if facts.error is not None:
        raise ImageError(facts.error, facts.hint or "")


def _print_config(facts: ImageFacts, config: bytes) -> None:
    from ringlet.host.printable import printable

    if facts.linux is None:
        raise ImageError(
            facts.error or f"{facts.name} is no Linux kernel",
            facts.hint or "leave --kernel-config out",
        )
    if not config:
        header = facts.linux.header
        error = header and header.payload.error
        raise ImageError(
            f"{facts.name} can't be decompressed: {error}"
            if error
            else f"{facts.name} has no configuration inside (CONFIG_IKCONFIG)",
            "look for it at " + (" or ".join(facts.linux.config.places) or "/boot/config-RELEASE"),
        )
    for line in config.splitlines():
        click.echo(printable(line, 4000))
