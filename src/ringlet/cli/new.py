"""`ringlet new`: makes a folder for a guest kernel of one's own."""

from __future__ import annotations

import click

from ringlet.machine.kit import make_folder

EPILOG = """\b
Examples:
  ringlet new first                   makes the folder first, with first.c
  cd first; make run                  builds the guest, and boots it
  make debug                          steps through it
  ringlet boot --cmdline 'a b'        boots what this folder builds

\b
The build needs gcc and make: apt install gcc make

\b
Status: 0; 125 if the folder can't be made, and then nothing of it is left.
"""


@click.command("new", epilog=EPILOG)
@click.argument("name")
def command(name: str) -> None:
    """Make the folder NAME for a guest kernel of your own.

    The folder has a guest in C (NAME.c), a Makefile, a README, and a copy of the library for
    guests, for you to read and to change: start-up code, print, interrupts, APIC, a virtio driver.
    """
    from shutil import which

    make_folder(name)
    click.echo(f"{name}/ has {name}.c, a Makefile, a README.md, and the library in lib/.")
    click.echo(f"Boot the guest: cd {name}; make run")
    if missing := [program for program in ("gcc", "make") if which(program) is None]:
        click.echo(f"Install what is missing: apt install {' '.join(missing)}")
