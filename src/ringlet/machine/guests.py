"""The guest kernels that come with ringlet, and the guest that the current folder builds."""

from __future__ import annotations

import os

from ringlet.errors import ImageError, RingletError, near

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from ringlet.host.named_tuple import NamedTuple

FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "_guests")
MAX_NAME = 64  # characters of a guest's name
_MAX_MAKEFILE = 1 << 16  # characters of a Makefile that are looked at


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
    """Returns the path of an image: a file, the image that this folder builds, or a guest's image.

    A folder called `name` isn't an image. Raises `ImageError` for a mistyped name of a guest, and
    for a guest of this folder that isn't built.
    """
    if os.sep in name:
        return name
    if here := _image_here(name):
        return here
    guest = packaged(name)
    if os.path.exists(guest):
        return guest
    if guest_of_folder(name):
        raise ImageError(
            f"{name} is a folder that builds a guest", f"boot the guest in there: cd {name}"
        )
    own = guest_of_folder()
    known = [*([own] if own else []), *(each.name for each in guests())]
    if not os.path.lexists(name) and (meant := near(name, known)):
        raise ImageError(f"there is no image {name}", f"{meant} `ringlet guests` lists them all")
    return name


def _image_here(name: str) -> str | None:
    """Returns the file of the current folder that `name` means: `name`, or what `make` built."""
    if os.path.isfile(name):
        return name
    return built_image(name) if name == guest_of_folder() else None


def guest_of_folder(folder: str = "") -> str | None:
    """Returns the name of the guest that `folder` builds, or None.

    A line of the folder's Makefile says the name, GUEST := NAME: `ringlet new` makes such a folder.
    """
    makefile = os.path.join(folder, "Makefile")
    if not os.path.isfile(makefile):
        return None
    try:
        with open(makefile, encoding="utf-8", errors="replace") as file:
            lines = file.read(_MAX_MAKEFILE).splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":=")
        if key.strip() == "GUEST" and is_guest_name(value.strip()):
            return value.strip()
    return None


def built_image(name: str) -> str:
    """Returns the image of the guest `name` that the current folder builds.

    Raises `ImageError` if the image isn't built.
    """
    image = f"{name}.elf"
    if os.path.isfile(image):
        return image
    hint = "run `make`"
    if os.path.exists(packaged(name)):
        hint += f"; in any other folder, {name} is the guest that comes with ringlet"
    raise ImageError(f"the guest {name} of this folder isn't built", hint)


def is_guest_name(name: str) -> bool:
    """Returns whether a guest may have this name: letters, digits, `_` and `-`, a letter first."""
    rest = name.replace("_", "").replace("-", "")
    return name[:1].isalpha() and rest.isascii() and rest.isalnum() and len(name) <= MAX_NAME


def which_image(name: str) -> str | None:
    """Returns a sentence on which image `find_image` takes, or None if nobody could be mistaken."""
    if os.sep in name:
        return None
    file = _image_here(name)
    if not os.path.exists(packaged(name)):
        return None if file in (None, name) else f"booting the file {file} of this folder"
    if file is not None:
        return f"booting the file {file} of this folder, not the guest that comes with ringlet"
    if guest_of_folder(name):
        return f"booting the guest that comes with ringlet, not the guest of the folder {name}"
    return None


def packaged(name: str) -> str:
    """Returns the path of the guest `name` that comes with ringlet; ignores the current folder."""
    path = os.path.join(FOLDER, name)
    return path + ".elf" if os.path.exists(path + ".elf") else path + ".bin"
