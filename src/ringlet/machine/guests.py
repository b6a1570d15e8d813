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
    """A guest: its name, the path of its image, and one line on what the guest shows."""

    name: str
    path: str
    summary: str


def guests() -> list[Guest]:
    """Returns all guests, sorted by name. Raises `RingletError` if the guests aren't built."""
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
    """Returns the path of an image: `name` if there is such a file, else the guest's image.

    A folder called `name` isn't an image. Raises `ImageError` for a mistyped name of a guest.
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
    """Returns whether `find_image` takes a file of the current folder, not the guest `name`."""
    return os.sep not in name and os.path.isfile(name) and os.path.exists(packaged(name))


def packaged(name: str) -> str:
    """Returns the path of the guest `name` that comes with ringlet; ignores the current folder."""
    path = os.path.join(FOLDER, name)
    return path + ".elf" if os.path.exists(path + ".elf") else path + ".bin"
