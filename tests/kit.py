"""Folders as `ringlet new` makes them, and what make does in them."""

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

from ringlet.machine.guests import FOLDER

from .cli.command import ENVIRONMENT, LONG, RINGLET, run

KIT = Path(FOLDER, "kit")


def new(folder: Path, name: str, program: str | None = None) -> Path:
    """The folder `name` that `ringlet new` makes in `folder`, with this program if there is one."""
    done = run("new", name, cwd=folder)
    assert done.returncode == 0, done.stderr
    made = folder / name
    if program is not None:
        (made / f"{name}.c").write_text(program)
    return made


def make(folder: Path, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`make WORDS` in `folder`, with this ringlet; make's own flags stay out of it."""
    environment = {key: value for key, value in ENVIRONMENT.items() if not key.startswith("MAKE")}
    options = {"env": environment, **options}
    return subprocess.run(
        ["make", f"-j{os.cpu_count()}", f"RINGLET={shlex.join(RINGLET)}", *words],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
        **options,
    )


def build(folder: Path, name: str, program: str | None = None) -> Path:
    """The image that make builds in a new folder, with no warning."""
    made = new(folder, name, program)
    done = make(made)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return made / f"{name}.elf"
