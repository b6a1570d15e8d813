#!/usr/bin/env python3
"""Draws the rooms of the package into docs/design.md, from the import contract.

    python docs/rooms.py            writes the picture
    python docs/rooms.py --check    fails where the picture and the contract differ

The layers are those of `pyproject.toml`, to which `lint-imports` holds the code. The sentence
beside a room is the first line of the room's docstring.
"""

import ast
import sys
import tomllib
from pathlib import Path

TOP = Path(__file__).parent.parent
PACKAGE = TOP / "src"
PAGE = TOP / "docs/design.md"
BEGIN, END = "<!-- rooms: made by docs/rooms.py -->\n", "<!-- end of rooms -->\n"


def sentence(room: str) -> str:
    """The first line of the docstring of `room`, a module or a package."""
    path = PACKAGE / room.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    if not docstring:
        raise SystemExit(f"{path} has no docstring")
    return docstring.splitlines()[0]


def picture() -> str:
    """The layers, the highest first: a box for each, a line for each room in it."""
    settings = tomllib.loads((TOP / "pyproject.toml").read_text())
    (layers,) = (
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers" and "containers" not in contract
    )
    rooms = [[room.strip() for room in layer.split("|")] for layer in layers]
    names = [room.removeprefix("ringlet.") for layer in rooms for room in layer]
    width = max(map(len, names)) + 2
    lines = ["┌" + "─" * width + "┐"]
    for number, layer in enumerate(rooms):
        if number:
            lines.append("├" + "─" * width + "┤")
        for room in layer:
            name = room.removeprefix("ringlet.")
            lines.append(f"│ {name:{width - 1}}│ {sentence(room)}")
    lines.append("└" + "─" * width + "┘")
    return "```text\n" + "\n".join(lines) + "\n```\n"


def main() -> None:
    """Writes or checks the picture."""
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    drawn = before + BEGIN + picture() + END + after
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(drawn)
    elif drawn != text:
        raise SystemExit("docs/design.md shows other rooms than the code has: run docs/rooms.py")


if __name__ == "__main__":
    main()
