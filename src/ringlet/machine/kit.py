"""The kit for guests: makes a folder with all that a guest of one's own is built of.

The folder has its own copy of the guest library. So a student reads the library, changes it and
steps through it where the guest is, and the guest builds in the same way on any computer, with any
later version of ringlet, and with none.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from ringlet.errors import ConfigError, RingletError
from ringlet.host import interrupt
from ringlet.machine.guests import FOLDER, MAX_NAME, is_guest_name

_KIT = Path(FOLDER, "kit")
_PROGRAM = "guest.c"  # becomes NAME.c
_NAME = "@NAME@"  # stands for the guest's name in the files of the kit, but for those of lib
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


def make_folder(name: str) -> None:
    """Makes the folder `name` in the current folder, for the guest `name`.

    Either the whole folder is made or nothing. Raises `ConfigError` for a name that can't be used,
    and `RingletError` if the system refuses.
    """
    if not is_guest_name(name):
        raise ConfigError(
            f"{name!r} can't be the name of a guest",
            f"use letters, digits, _ and -, a letter first, {MAX_NAME} at most; the folder is made "
            "where you are",
        )
    if not _KIT.is_dir():
        raise RingletError(
            "the kit for guests isn't built",
            "run `make` in the checkout, or install ringlet again",
        )
    interrupt.defer()
    try:
        with TemporaryDirectory(prefix=f".{name}-", dir=".") as place:
            folder = Path(place, name)
            _fill(folder, name)
            interrupt.check()
            folder.rename(name)  # takes the place of an empty folder, and of nothing else
    except OSError as error:
        if error.errno in _TAKEN:
            raise RingletError(
                f"there is {name} in this folder already", "take another name, or remove it"
            ) from None
        raise RingletError(
            f"the folder {name} can't be made: {os.strerror(error.errno or 0)}",
            "go to a folder that you may write to: cd",
        ) from None


def _fill(folder: Path, name: str) -> None:
    (folder / "lib").mkdir(parents=True)
    for file in (_KIT / "lib").iterdir():
        (folder / "lib" / file.name).write_bytes(file.read_bytes())
    for file in _KIT.iterdir():
        if file.is_file():
            text = file.read_text().replace(_NAME, name)
            (folder / (f"{name}.c" if file.name == _PROGRAM else file.name)).write_text(text)
