"""The labs that come with ringlet, as their lab.toml files describe them."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from ringlet.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringlet.labs.check import Check

ROOM = Path(__file__).parent


class Lab(NamedTuple):
    """A lab.

    number    as the command line names the lab
    title     one line
    version   goes up when a check asks for something new: older folders are then refused
    minutes   how long the lab takes a student
    files     the files that the student hands in
    programs  programs of the host without which the lab can't be checked
    place     the lab's own folder
    """

    number: int
    title: str
    version: int
    minutes: int
    files: tuple[str, ...]
    programs: tuple[str, ...]
    place: Path

    @property
    def folder_name(self) -> str:
        """The usual name of a student's folder."""
        return f"lab{self.number}"

    @property
    def text(self) -> str:
        """The text for students, in Markdown."""
        return (self.place / "text.md").read_text(encoding="utf-8")

    @property
    def starter(self) -> list[Path]:
        """The files that a student begins with."""
        return sorted(path for path in (self.place / "starter").iterdir() if path.is_file())

    def checks(self) -> Sequence[Check]:
        """Imports the lab's checks."""
        checks: Sequence[Check] = import_module(f"ringlet.labs.{self.place.name}.checks").CHECKS
        return checks


def labs() -> list[Lab]:
    """Returns all labs, by number."""
    found = []
    for file in ROOM.glob("*/lab.toml"):
        values = tomllib.loads(file.read_text(encoding="utf-8"))
        for key in ("files", "programs"):
            values[key] = tuple(values.get(key, ()))
        found.append(Lab(**values, place=file.parent))
    return sorted(found)


def find_lab(number: int) -> Lab:
    """Returns the lab of this number. Raises `ConfigError` if there is none."""
    for lab in labs():
        if lab.number == number:
            return lab
    known = ", ".join(str(lab.number) for lab in labs())
    raise ConfigError(f"there is no lab {number}", f"choose one of {known}: `ringlet lab list`")
