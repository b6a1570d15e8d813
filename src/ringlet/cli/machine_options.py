"""The options that describe a machine, for each command that makes one."""

from __future__ import annotations

import click

from ringlet.boot import PROTOCOLS
from ringlet.cli.file_type import FILE
from ringlet.cli.image_names import complete_image
from ringlet.host.settings import parse_size
from ringlet.machine.config import DECOMPRESSORS, parse_address, read_toml

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SERIAL = "stdio (the default), pty, none, or a file for its output"


def machine_options(serial: str = SERIAL) -> Callable[[Any], Any]:
    """Returns a decorator that gives a command the argument IMAGE and the options of a machine.

    `serial` says which targets --serial has.
    """
    decorators = (
        click.argument("image", required=False, shell_complete=complete_image),
        click.option(
            "--memory", metavar="SIZE", help="RAM of the guest: 64M if not given, for Linux 256M."
        ),
        click.option("--cpus", type=int, metavar="N", help="How many vCPUs; 1 if not given."),
        click.option("--cmdline", metavar="TEXT", help="Command line for the guest."),
        click.option("--initrd", metavar="FILE", type=click.Path(), help="The first module."),
        click.option(
            "--module",
            "modules",
            metavar="FILE[,TEXT]",
            type=FILE,
            multiple=True,
            help="A module, and its command line. May be given again.",
        ),
        click.option(
            "--disk",
            "disks",
            metavar="FILE[,readonly][,snapshot]",
            type=FILE,
            multiple=True,
            help="A disk for the guest: a raw image or a block device. With snapshot, FILE stays "
            "as it is. May be given again.",
        ),
        click.option(
            "--network",
            metavar="none|tap[:NAME]|user[,...]",
            help="The guest's network: an interface of the host (address=A/P, bridge=NAME may "
            "follow), or passt, without root (forward=HOST:GUEST may); mac= and mtu= for both.",
        ),
        click.option(
            "--entropy",
            is_flag=True,
            default=None,
            help="A device that gives the guest random bytes.",
        ),
        click.option(
            "--protocol", type=click.Choice(PROTOCOLS), help="Don't look at the image, use this."
        ),
        click.option(
            "--decompress",
            type=click.Choice(DECOMPRESSORS),
            help="Who decompresses a bzImage: the host, which remembers it (the default), or the "
            "guest, which lies at a random address then (KASLR).",
        ),
        click.option(
            "--force", is_flag=True, default=None, help="Try Linux on a KVM that can't run it."
        ),
        click.option(
            "--load-address", metavar="ADDRESS", help="Of a flat image; 0x7c00 if not given."
        ),
        click.option(
            "--serial",
            metavar="WHERE",
            type=FILE,
            help=f"The guest's serial line: {serial}.",
        ),
        click.option(
            "--com2", metavar="WHERE", type=FILE, help="A second serial line, the same way."
        ),
        click.option("--com3", metavar="WHERE", type=FILE, help="A third one."),
        click.option(
            "--hvc0",
            metavar="WHERE",
            type=FILE,
            help="A virtio terminal, Linux's /dev/hvc0, the same way. It is faster than a serial "
            "line. The kernel's log goes there with --cmdline console=hvc0.",
        ),
        click.option(
            "--timeout", type=float, metavar="SECONDS", help="End the run, with status 124."
        ),
        click.option("--pit/--no-pit", default=None, help="An i8254 timer, or none."),
        click.option(
            "--config", metavar="FILE", type=click.Path(), help="TOML for what isn't given here."
        ),
    )

    def decorate(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def machine_values(options: dict[str, Any]) -> dict[str, Any]:
    """Returns the keys for `MachineConfig` that the values of these options set.

    Raises `ConfigError` for a value that can't be used.
    """
    config = options.get("config")
    values = {} if config is None else read_toml(config)
    values |= {
        key: value for key, value in options.items() if key != "config" and value not in (None, ())
    }
    if options.get("memory") is not None:
        values["memory"] = parse_size(options["memory"])
    if options.get("load_address") is not None:
        values["load_address"] = parse_address(options["load_address"])
    return values
