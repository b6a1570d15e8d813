"""`ringlet initramfs`: makes an initramfs, the small system that a Linux kernel starts with."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import click

from ringlet.cli.file_type import FILE, FOLDER
from ringlet.cli.output_file import OutputFile
from ringlet.errors import ConfigError
from ringlet.host import interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

EPILOG = """\b
Examples:
  ringlet initramfs shell.img                          busybox, and a shell on the console
  ringlet initramfs --exec 'uname -a; cat /etc/motd' --file motd:/etc/motd guest.img
  ringlet initramfs --folder rootfs --exec ./test.sh --compress gzip guest.img
  ringlet initramfs --modules /lib/modules/6.1.0-56-amd64 --module virtio_net net.img
  ringlet boot /boot/vmlinuz-6.1.0-56-amd64 --initrd guest.img

\b
The machine ends with the command's status. The same content always gives the same bytes.
"""

# The size of a terminal on a serial line, which doesn't report its size.
ROWS, COLUMNS = 24, 80


@click.command("initramfs", epilog=EPILOG)
@click.option(
    "--folder",
    "folders",
    metavar="DIR[:AT]",
    type=FOLDER,
    multiple=True,
    help="Copy the files in DIR to the path AT; to / if AT isn't given. May be given again.",
)
@click.option(
    "--file",
    "files",
    metavar="FILE[:AT]",
    type=FILE,
    multiple=True,
    help="Copy FILE to the path AT; into / if AT isn't given. May be given again.",
)
@click.option(
    "--exec", "command_line", metavar="CMD", help="The command to run; a shell if not given."
)
@click.option(
    "--busybox/--no-busybox",
    default=None,
    help="Whether this host's busybox is put in. If not given: unless a folder is copied to /.",
)
@click.option(
    "--modules", metavar="DIR", type=FOLDER, help="The folder /lib/modules/RELEASE of the kernel."
)
@click.option(
    "--module",
    "module_names",
    metavar="NAME",
    multiple=True,
    help="Load the module NAME, and the modules that NAME depends on. May be given again.",
)
@click.option(
    "--compress",
    type=click.Choice(("none", "gzip")),
    default="none",
    help="How to compress the initramfs; none if not given.",
)
@click.argument("out", type=click.Path())
def command(
    folders: tuple[str, ...],
    files: tuple[str, ...],
    command_line: str | None,
    busybox: bool | None,
    modules: str | None,
    module_names: tuple[str, ...],
    compress: str,
    out: str,
) -> None:
    """Make an initramfs for a Linux kernel, and write it to the file OUT.

    The kernel runs one command in the initramfs, and then ends.
    """
    from ringlet.linux.initramfs import build, find_busybox, plan_line, shell

    copies = [_split(folder, "/") for folder in folders]
    for folder, _ in copies:
        if not os.path.isdir(folder):
            raise ConfigError(f"{folder} isn't a folder", "for a file there is --file")
        if _is_inside(out, folder):
            raise ConfigError(f"{out} lies in {folder}, which is copied", "write it elsewhere")
    if modules is not None and not module_names:
        raise ConfigError("--modules without --module", "name the modules to load")
    if busybox is None:
        busybox = all(at.strip("/") for _, at in copies)
    copies += map(split_file, files)
    if command_line is None:
        run = [plan_line("arg", "sh"), plan_line("tty", ROWS, COLUMNS)]
    else:
        run = shell(command_line)
    interrupt.defer()
    plan = [plan_line("env", "HOME=/root"), plan_line("status", "port"), *run]
    try:
        with OutputFile(out) as file:
            with (
                interrupt.waiting,
                open(file.path, "wb") as target,
                _compressed(target, compress) as image,
            ):
                build(
                    image,
                    plan=plan,
                    copies=copies,
                    modules=None if modules is None else Path(modules),
                    module_names=module_names,
                    busybox=find_busybox() if busybox else None,
                )
            file.finish()
    except OSError as error:
        raise ConfigError(f"can't write {out}: {error.strerror}", "write it elsewhere") from error


def _is_inside(path: str, folder: str) -> bool:
    folder, path = os.path.realpath(folder), os.path.realpath(path)
    return os.path.commonpath([folder, path]) == folder


def split_file(text: str) -> tuple[str, str]:
    """Splits FILE[:AT] into the path on the host and the path in the guest.

    Raises `ConfigError`.
    """
    path, at = _split(text, "/")
    return path, at if at != "/" else os.path.basename(path)


def _split(text: str, default: str) -> tuple[str, str]:
    """Splits PATH[:AT] into the path on the host and the path in the guest."""
    path, colon, at = text.rpartition(":")
    if not colon:
        path, at = text, default
    if not (path and at):
        raise ConfigError(f"not PATH[:AT]: {text!r}", "leave the colon out, or say a path there")
    return path, at


@contextmanager
def _compressed(file: BinaryIO, how: str) -> Iterator[BinaryIO]:
    if how == "none":
        yield file
        return
    from gzip import GzipFile

    with GzipFile("", "wb", fileobj=file, mtime=0) as compressed:
        yield cast("BinaryIO", compressed)  # only write() is called
