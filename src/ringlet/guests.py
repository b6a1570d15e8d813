"""The guest kernels that come with ringlet."""

from pathlib import Path
from typing import NamedTuple

from ringlet.errors import RingletError

FOLDER = Path(__file__).parent / "_guests"
SUFFIXES = (".elf", ".bin")


class Guest(NamedTuple):
    """A guest: its name, its image, one line of what it shows."""

    name: str
    path: Path
    summary: str


def guests() -> list[Guest]:
    """All of them, by name. Raises `RingletError` where they aren't built."""
    try:
        lines = (FOLDER / "index.tsv").read_text().splitlines()
    except FileNotFoundError:
        raise RingletError(
            "the guests that come with ringlet aren't built",
            "run `make` in the checkout, or install ringlet again",
        ) from None
    found = []
    for line in lines:
        name, summary = line.split("\t")
        path = next(p for s in SUFFIXES if (p := FOLDER / (name + s)).exists())
        found.append(Guest(name, path, summary))
    return sorted(found)


def find_image(name: str) -> str:
    """The path of an image: `name` itself where there is such a file, else the guest's."""
    if Path(name).exists() or "/" in name:
        return name
    paths = (FOLDER / (name + suffix) for suffix in SUFFIXES)
    return next((str(path) for path in paths if path.is_file()), name)
