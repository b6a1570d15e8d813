"""The guest kernels that come with ringlet."""

from __future__ import annotations

import os

from ringlet.errors import ImageError, RingletError, near

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from ringlet.host.named_tuple import NamedTuple

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
        found.append(Guest(name, packaged(name), summary))
    return sorted(found)


def find_image(name: str) -> str:
    """The path of an image: `name` itself where there is such a file, else the guest's.

    A folder of the name isn't an image. Raises `ImageError` for a guest's name that is mistyped.
    """
    if os.sep in name or os.path.isfile(name):
        return name
    guest = packaged(name)
    if os.path.exists(guest):
        return guest
    if not os.path.lexists(name) and (meant := near(name, [each.name for each in guests()])):
        raise ImageError(f"there is no image {name}", f"{meant}`ringlet guests` lists them all")
    return name


def hides_guest(name: str) -> bool:
    """Whether `find_image` takes a file of the current folder instead of the guest `name`."""
    return os.sep not in name and os.path.isfile(name) and os.path.exists(packaged(name))


def packaged(name: str) -> str:
    """The path of the guest `name` that comes with ringlet, whatever the current folder holds."""
    path = os.path.join(FOLDER, name)
    return path + ".elf" if os.path.exists(path + ".elf") else path + ".bin"
