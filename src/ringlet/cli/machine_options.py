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
            "--memory",
            metavar="SIZE",
            help="RAM of the guest. If not given: 64M, and for Linux 256M.",
        ),
        click.option("--cpus", type=int, metavar="N", help="The number of vCPUs; 1 if not given."),
        click.option("--cmdline", metavar="TEXT", help="The command line that the guest gets."),
        click.option(
            "--initrd",
            metavar="FILE",
            type=click.Path(),
            help="A file that the guest gets: the initrd of Linux, the first module of others.",
        ),
        click.option(
            "--module",
            "modules",
            metavar="FILE[,TEXT]",
            type=FILE,
            multiple=True,
            help="A file that the guest gets as a module, and the module's command line. May be "
            "given again.",
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
            "--folder",
            "folders",
            metavar="PATH:TAG[:ro]",
            type=FILE,
            multiple=True,
            help="A folder of the host: Linux mounts it with `mount -t virtiofs TAG /mnt`. May be "
            "given again.",
        ),
        click.option(
            "--entropy",
            is_flag=True,
            default=None,
            help="A device that gives the guest random bytes.",
        ),
        click.option(
            "--protocol",
            type=click.Choice(PROTOCOLS),
            help="The boot protocol; if not given, ringlet finds it out from the image.",
        ),
        click.option(
            "--decompress",
            type=click.Choice(DECOMPRESSORS),
            help="Who decompresses a bzImage: the host (the default), which keeps the result for "
            "the next time; or the guest, whose kernel then runs at a random address (KASLR).",
        ),
        click.option(
            "--force",
            is_flag=True,
            default=None,
            help="Boot Linux although this host's KVM can't run it.",
        ),
        click.option(
            "--load-address",
            metavar="ADDRESS",
            help="Where a flat image is loaded; 0x7c00 if not given.",
        ),
        click.option(
            "--serial",
            metavar="WHERE",
            type=FILE,
            help=f"The guest's serial line: {serial}.",
        ),
        click.option(
            "--com2", metavar="WHERE", type=FILE, help="The second serial line, as --serial."
        ),
        click.option(
            "--com3", metavar="WHERE", type=FILE, help="The third serial line, as --serial."
        ),
        click.option(
            "--hvc0",
            metavar="WHERE",
            type=FILE,
            help="A virtio terminal, Linux's /dev/hvc0, as --serial. With --cmdline console=hvc0, "
            "the kernel's log goes there.",
        ),
        click.option(
            "--timeout",
            type=float,
            metavar="SECONDS",
            help="End the run after so many seconds, with status 124.",
        ),
        click.option(
            "--pit/--no-pit",
            default=None,
            help="Whether the guest has an i8254 timer. If not given: Linux and Multiboot kernels "
            "have one.",
        ),
        click.option(
            "--config",
            metavar="FILE",
            type=click.Path(),
            help="A TOML file with the options that aren't given here.",
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
