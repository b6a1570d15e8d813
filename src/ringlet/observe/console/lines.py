"""Source lines by address, addresses by source line, and how frames of the stack lie, by DWARF.

Another process reads the debug information (dwarf_reader.py), because the debug information is
hostile. The text of a source file comes from one folder of the user's choice, and from nowhere
else, whatever path the debug information names.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from bisect import bisect_right
from itertools import groupby
from typing import NamedTuple

from ringlet.boot.elf import MAGIC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ringlet.boot.image import Image

READER = os.path.join(os.path.dirname(__file__), "dwarf_reader.py")
MAX_OUTPUT = 16 << 20  # bytes of what that program writes, which holds itself to that
PATIENCE = 20.0  # seconds for the process that reads the debug information
MAX_SOURCE = 4 << 20  # bytes of a source file
MAX_LINE = 200  # characters of a line that is shown
MAX_PARTS = 64  # of a path


class Line(NamedTuple):
    """A line of a source file; lines count from 1."""

    path: str
    number: int

    def __str__(self) -> str:
        return f"{self.path}:{self.number}"


class FrameRule(NamedTuple):
    """How a function's frame lies on the stack at one of its instructions (DWARF 5, 6.4).

    The canonical frame address (CFA) is the value of a register plus `offset`. A register of the
    caller is saved at CFA plus its offset in `saved`. Registers have the numbers of DWARF.
    """

    register: int
    offset: int
    saved: dict[int, int]


class Lines:
    """What the debug information says; empty if there is none.

    `note` says why there is nothing, or not all.
    """

    def __init__(self, found: dict[str, Any] | None = None, note: str = "") -> None:
        found = found or {"files": [], "lines": [], "frames": [], "note": note}
        self.note: str = found["note"]
        self.files = [_printable(path) for path in found["files"]]
        # Each row reaches to the next one. A row of line 0 ends a sequence.
        rows: list[tuple[int, int, int, int]] = []
        for sequence in found["lines"]:
            last = (sequence[-1][0], 0, 0, 0)
            rows += [(at, number, line, statement) for at, number, line, statement in sequence[:-1]]
            rows.append(last)
        # At one address the last row counts. An end comes first, since another sequence may begin
        # there, and the beginning of a statement comes last, as in GDB.
        rows.sort(key=lambda row: (row[0], row[2] != 0, row[3]))
        self._rows = rows
        self._addresses = [row[0] for row in rows]
        self._frames = sorted(found["frames"], key=lambda frame: frame[0])
        self._frame_starts = [frame[0] for frame in self._frames]

    def at(self, address: int) -> Line | None:
        """Returns the source line of an instruction; None if nobody says it."""
        index = bisect_right(self._addresses, address) - 1
        if index < 0 or not self._rows[index][2]:
            return None
        _, number, line, _ = self._rows[index]
        return Line(self.files[number], line)

    def find_file(self, name: str) -> list[str]:
        """Returns the source files whose path is `name`, or ends in `/name`."""
        return [path for path in self.files if path == name or path.endswith(f"/{name}")]

    def addresses_of(self, path: str, line: int) -> tuple[int, list[int]]:
        """Returns where the code of a line begins, once for each place where there is code.

        A line without code stands for the next line that has code; returns that line's number, too.
        There is no address if there is no such line.
        """
        number = self.files.index(path)
        starts: dict[int, list[int]] = {}
        previous = 0  # the line of the address before
        for address, rows in groupby(self._rows, lambda row: row[0]):
            here = 0
            for _, file, row_line, statement in rows:
                here = row_line if file == number else 0
                if statement and here >= line and here != previous:
                    starts.setdefault(here, []).append(address)
            previous = here
        if not starts:
            return line, []
        best = min(starts)
        return best, sorted(set(starts[best]))

    def frame_rule(self, address: int) -> FrameRule | None:
        """Returns how the frame lies before the instruction at `address`; None if unknown."""
        index = bisect_right(self._frame_starts, address) - 1
        if index < 0 or address >= self._frames[index][1]:
            return None
        rules = self._frames[index][2]
        row = bisect_right([rule[0] for rule in rules], address) - 1
        if row < 0:
            return None
        _, register, offset, saved = rules[row]
        return FrameRule(register, offset, {int(name): place for name, place in saved.items()})


def read_lines(images: Sequence[Image]) -> Lines:
    """Returns the debug information of the last image that has some. Closes the images."""
    try:
        notes = []
        for image in reversed(images):
            lines = _read(image)
            if lines.files:
                return lines
            notes.append(lines.note)
        return Lines(note=notes[0])  # a debug file comes last
    finally:
        for image in images:
            image.close()


def _read(image: Image) -> Lines:
    if image.size < len(MAGIC) or image.read(0, len(MAGIC)) != MAGIC:
        return Lines(note="the file is no ELF, so it has no debug information")
    output = os.memfd_create("ringlet-lines")
    try:
        process = subprocess.run(
            # -P: the modules beside the program aren't the program's.
            [sys.executable, "-P", READER],
            stdin=image.fileno(),
            stdout=output,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
        data = os.pread(output, MAX_OUTPUT, 0)
        if process.returncode == 0:
            return Lines(json.loads(data))
    except (OSError, ValueError, subprocess.SubprocessError):
        pass  # the process was killed, or could not write all
    finally:
        os.close(output)
    return Lines(note="the debug information can't be read within its limits")


class Sources:
    """The text of source files, below one folder."""

    def __init__(self, folder: str) -> None:
        self._folder = os.path.realpath(folder)
        self._texts: dict[str, list[str] | None] = {}

    def lines(self, path: str) -> list[str] | None:
        """Returns the lines of the file that debug information calls `path`; None if there is none.

        The file is the folder's file of the same path, or else of the path without its first parts.
        """
        if path not in self._texts:
            self._texts[path] = self._find(path)
        return self._texts[path]

    def _find(self, path: str) -> list[str] | None:
        parts = [part for part in path.split("/") if part not in ("", ".", "..")][-MAX_PARTS:]
        for start in range(len(parts)):
            data = self._read("/".join(parts[start:]))
            if data is not None:
                text = data.decode("utf-8", "replace")
                return [_printable(line.expandtabs())[:MAX_LINE] for line in text.split("\n")]
        return None

    def _read(self, within: str) -> bytes | None:
        try:
            path = os.path.realpath(os.path.join(self._folder, within), strict=True)
            if os.path.commonpath([path, self._folder]) != self._folder:
                return None  # a symbolic link leads out of the folder
            # Without these flags, opening a FIFO would wait, and a device might do something.
            if not stat.S_ISREG(os.lstat(path).st_mode):
                return None
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW)
        except (OSError, ValueError):
            return None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return None
            return os.pread(fd, MAX_SOURCE, 0)
        except OSError:
            return None
        finally:
            os.close(fd)


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]
