"""The guest kernels that come with ringlet."""

import os
from typing import NamedTuple

from ringlet.errors import RingletError

FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "_guests")


class Guest(NamedTuple):
    """A guest: its name, its image, one line of what it shows."""

    name: str
    path: str
    summary: str


def guests() -> list[Guest]:
    """All of them, by name. Raises `RingletError` where they aren't built."""
    try:
        with open(os.path.join(FOLDER, "index.tsv")) as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        raise RingletError(
            "the guests that come with ringlet aren't built",
            "run `make` in the checkout, or install ringlet again",
        ) from None
    found = []
    for line in lines:
        name, summary = line.split("\t")
        found.append(Guest(name, _packaged(name), summary))
    return sorted(found)


def find_image(name: str) -> str:
    """The path of an image: `name` itself where there is such a file, else the guest's."""
    if os.sep in name or os.path.exists(name):
        return name
    packaged = _packaged(name)
    return packaged if os.path.exists(packaged) else name


def _packaged(name: str) -> str:
    path = os.path.join(FOLDER, name)
    return path + ".elf" if os.path.exists(path + ".elf") else path + ".bin"
