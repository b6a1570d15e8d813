"""`ringlet nested`: runs a command in an emulated machine that has a hardware KVM."""

from __future__ import annotations

import sys
from contextlib import contextmanager

import click

from ringlet.cli.answer import report
from ringlet.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

EPILOG = """\b
Examples:
  ringlet nested --setup                         once: fetch a kernel, and QEMU if you are root
  ringlet nested -- ringlet doctor               a hardware KVM
  ringlet nested -- ringlet boot vmlinuz --initrd initrd.img
  ringlet nested --share results -- make -C tests REPORT=results/report.xml
  ringlet nested --memory 4G -- bash

\b
The command sees this host's files, in the same folder, with the same environment and as the
same user. What it writes is gone afterwards, but for the folder of --share. It has no network.
On a terminal, Ctrl-A x ends the machine and Ctrl-A h helps.

\b
Status: the command's, 128 + n if signal n ended it; 70 if the machine crashed; 124 at the
timeout; 125 if ringlet could not do it; 126 or 127 if the command can't be run or isn't found.
"""


@click.command(
    "nested",
    epilog=EPILOG,
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
@click.argument("command_", metavar="[--] COMMAND...", nargs=-1, type=click.UNPROCESSED)
@click.option("--cpus", type=int, metavar="N", help="The number of CPUs; 1 if not given.")
@click.option("--memory", metavar="SIZE", help="Memory of the machine; 2G if not given.")
@click.option(
    "--share",
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="A folder in which the command's changes stay. All other changes are lost at the end.",
)
@click.option(
    "--timeout",
    type=float,
    metavar="SECONDS",
    help="End the run after so many seconds, with status 124.",
)
@click.option(
    "--kernel",
    metavar="FILE",
    type=click.Path(),
    help="The kernel of the machine; if not given, the newest one that ringlet finds.",
)
@click.option(
    "--modules",
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="The modules of that kernel, such as /lib/modules/RELEASE.",
)
@click.option(
    "--qemu",
    metavar="FILE",
    type=click.Path(),
    help="The QEMU to run; the qemu-system-x86_64 on PATH if not given.",
)
@click.option(
    "--setup", is_flag=True, help="Fetch what is missing: a kernel, and as root QEMU, too."
)
@click.option(
    "--package",
    "packages",
    metavar="NAME",
    multiple=True,
    help="With --setup: fetch the kernel of this package, too. May be given again.",
)
def command(
    command_: tuple[str, ...], setup: bool, packages: tuple[str, ...], **options: Any
) -> int:
    """Run COMMAND in a machine that QEMU emulates, with a real /dev/kvm and this host's files.

    This is for hosts without a KVM, and for hosts whose KVM can't run stock kernels. The machine is
    slow: it starts in some 6 seconds, and a program takes about twenty times as long to start as
    on the host.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if setup or packages:
        if command_ or given or not setup:
            raise ConfigError(
                "--setup takes --package and nothing else", "run the command afterwards"
            )
        return _set_up(packages)
    from ringlet.emulated.nested_config import NestedConfig
    from ringlet.emulated.session import MachineError, run
    from ringlet.host.settings import parse_size

    if "memory" in given:
        given["memory"] = parse_size(given["memory"])
    try:
        with _progress() as erase:
            return run(NestedConfig(command_, **given), erase)
    except MachineError as error:
        report(error.message, error.hint, [f"  {line}" for line in error.log])
        return error.status


@contextmanager
def _progress() -> Iterator[Callable[[], None]]:
    """Shows a line on a terminal while the machine starts; yields what erases the line."""
    shown = "ringlet: the machine comes up, in some 6 seconds ..." if sys.stderr.isatty() else ""

    def erase() -> None:
        nonlocal shown
        click.echo(f"\r{' ' * len(shown)}\r" if shown else "", nl=False, err=True)
        shown = ""

    click.echo(shown, nl=False, err=True)
    try:
        yield erase
    finally:
        erase()


def _set_up(packages: tuple[str, ...]) -> int:
    from ringlet.emulated.installed_kernel import cache
    from ringlet.emulated.packages import default_package, fetch_kernel, install_qemu

    install_qemu()
    for package in dict.fromkeys((default_package(), *packages)):
        kernel = fetch_kernel(package, cache())
        click.echo(f"{package}: {kernel.vmlinuz}")
    return 0
