"""A student's folder: is made with the starter files, is found, and gets the starter files again.

The file `.ringlet-lab` in the folder says which lab and which version of the lab the folder is for.
"""

from __future__ import annotations

import os
import shutil
import tomllib
from pathlib import Path

from ringlet.errors import ConfigError, RingletError
from ringlet.labs.catalog import find_lab

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.labs.catalog import Lab

MARK = ".ringlet-lab"
_MAX_MARK = 1 << 12


def start(lab: Lab, folder: Path) -> None:
    """Makes `folder` with the starter files. Raises `ConfigError` if something is there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(
                f"there is something in {folder} already",
                f"name another folder: ringlet lab start {lab.number} FOLDER; or begin again in "
                f"this one: ringlet lab reset {lab.number}",
            )
        _fill(lab, folder)
    except OSError as error:
        raise _refused(folder, error) from None


def find_work(word: str | None) -> tuple[Lab, Path]:
    """Returns the lab and the folder that a word of a command line names: a number, or a folder.

    None stands for this folder. Raises `ConfigError` as `find_folder` does.
    """
    if word is None or (word.isascii() and word.isdigit()):
        return find_folder(None if word is None else int(word))
    return _open(Path(word))


def find_folder(number: int | None, *, of_any_version: bool = False) -> tuple[Lab, Path]:
    """Returns the lab and the student's folder: this folder, or the folder below it of the lab.

    Raises `ConfigError` if there is none, or if it is of another version of the lab, unless
    `of_any_version`.
    """
    here = Path()
    if number is None:
        return _open(here, of_any_version=of_any_version)
    for folder in (here, here / find_lab(number).folder_name):
        if (folder / MARK).is_file() and _read_mark(folder)[0].number == number:
            return _open(folder, of_any_version=of_any_version)
    raise ConfigError(
        f"there is no folder of lab {number} here",
        f"go to your folder, or begin the lab: ringlet lab start {number}",
    )


def _open(folder: Path, *, of_any_version: bool = False) -> tuple[Lab, Path]:
    if not (folder / MARK).is_file():
        which = "this folder" if folder == Path() else f"the folder {folder}"
        raise ConfigError(
            f"{which} is not the folder of a lab: it has no file {MARK}",
            "go to your folder of the lab; or begin a lab: ringlet lab start 1",
        )
    lab, version = _read_mark(folder)
    if not of_any_version:
        _require(version, lab)
    return lab, folder


def reset(lab: Lab, folder: Path) -> Path | None:
    """Puts the starter files into `folder` again. Returns the folder with the student's files.

    The student's files of the same names move to a new folder; all other files stay.
    """
    try:
        old = [path.name for path in lab.starter if os.path.lexists(folder / path.name)]
        backup = _new_backup(folder) if old else None
        if backup is not None:
            for name in old:
                (folder / name).rename(backup / name)
        _fill(lab, folder)
    except OSError as error:
        raise _refused(folder, error) from None
    return backup


def _new_backup(folder: Path) -> Path:
    number = 1
    while True:
        backup = folder / f"before-reset-{number}"
        try:
            backup.mkdir()
        except FileExistsError:
            number += 1
        else:
            return backup


def _fill(lab: Lab, folder: Path) -> None:
    for path in lab.starter:
        shutil.copyfile(path, folder / path.name)
    (folder / MARK).write_text(f"lab = {lab.number}\nversion = {lab.version}\n")


def _read_mark(folder: Path) -> tuple[Lab, int]:
    try:
        with open(folder / MARK, encoding="utf-8") as file:
            values = tomllib.loads(file.read(_MAX_MARK))
        number, version = values["lab"], values["version"]
        if type(number) is not int or type(version) is not int:
            raise ValueError
    except (OSError, ValueError, KeyError):
        raise ConfigError(
            f"the file {folder / MARK} says nothing about a lab",
            "make a new folder with `ringlet lab start`, and copy your files into it",
        ) from None
    return find_lab(number), version


def _require(version: int, lab: Lab) -> None:
    if version != lab.version:
        raise ConfigError(
            f"this folder is of version {version} of lab {lab.number}, and this ringlet has "
            f"version {lab.version}",
            f"`ringlet lab reset {lab.number}` gives you the new starter files, and keeps yours in "
            "a folder beside them",
        )


def _refused(folder: Path, error: OSError) -> RingletError:
    return RingletError(
        f"the folder {folder} can't be used: {os.strerror(error.errno or 0)}",
        "go to a folder that you may write to: cd",
    )
