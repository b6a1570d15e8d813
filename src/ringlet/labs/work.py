"""A student's work: the files, read once, and the programs that run on copies of these files."""

from __future__ import annotations

import os
import stat

from ringlet.closing import Closing
from ringlet.errors import RingletError
from ringlet.host.printable import printable
from ringlet.labs.check import Failed
from ringlet.labs.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Any, TypeVar

    T = TypeVar("T")

MAX_FILES = 200
MAX_BYTES = 4 << 20  # of all files together
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# A build has `BUILD_SECONDS`, or `_PATIENCES` times what a program has for a check.
BUILD_SECONDS, _PATIENCES = 20.0, 6


class WorkError(RingletError):
    """What the student hands in can't be graded."""


def read_files(folder: Path, needed: Sequence[str]) -> dict[str, bytes]:
    """Returns the student's files, by name: those directly in `folder`, and no links.

    Raises `WorkError` if one of `needed` isn't there, or if there is too much.
    """
    files: dict[str, bytes] = {}
    left = MAX_BYTES
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
        for name in names:
            if name.startswith("."):
                continue
            data = _read(os.path.join(folder, name), left)
            if data is not None:
                files[name] = data
                left -= len(data)
            if left < 0 or len(files) > MAX_FILES:
                raise WorkError(
                    f"there is too much in {folder}: a lab takes {MAX_FILES} files and "
                    f"{MAX_BYTES >> 20} MiB",
                    "keep other files in another folder",
                )
    except OSError as error:
        raise WorkError(
            f"{folder} can't be read: {error.strerror}", "go to your folder of the lab"
        ) from None
    for name in needed:
        if name not in files:
            raise WorkError(
                f"the file {name} is missing in {folder}",
                "`ringlet lab reset` puts the starter files there again, and keeps your files",
            )
    return files


def _read(path: str, most: int) -> bytes | None:
    """Returns the content of a file, at most `most` + 1 bytes; None if it is no file, or a link."""
    try:
        fd = os.open(path, _OPEN)
    except OSError:
        if os.path.islink(path):
            return None
        raise
    with open(fd, "rb") as file:
        return file.read(most + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else None


class Work(Closing):
    """The work of one student, for the checks of a lab.

    patience  the seconds that a program has
    notes     the limits that can't be set on this host
    """

    def __init__(self, files: Mapping[str, bytes], patience: float) -> None:
        self.files = dict(files)
        self.patience = patience
        self.notes: list[str] = []
        self._kept: dict[object, object] = {}

    def program(
        self,
        *command: str,
        files: Mapping[str, bytes] | None = None,
        kvm: bool = False,
        nesting: bool = False,
        seconds: float | None = None,
    ) -> Program:
        """Starts `command` in a container with a copy of the work, and `files` beside it.

        With `kvm`, it may open /dev/kvm; with `nesting`, it may make namespaces and mounts. The
        program has `seconds`, or `patience`. Close the program at the end.
        """
        seconds = seconds or self.patience
        program = Program(
            {**self.files, **(files or {})}, command, kvm=kvm, nesting=nesting, seconds=seconds
        )
        self.notes += [note for note in program.notes if note not in self.notes]
        return program

    def build(self, *command: str, most: int, files: Sequence[Path] = ()) -> bytes:
        """Returns what `command` writes to standard output: an image that the work is built to.

        `files` are the grader's, and take the place of the work's own of the same names. The
        command runs once for all checks. Raises `Failed` if the build fails, with what the
        compiler says, or if the image has more than `most` bytes.
        """
        return self.once(self._build, command, most, tuple(files))

    def once(self, call: Callable[..., T], *arguments: object) -> T:
        """Calls `call` once for all checks, and keeps the outcome, a `Failed` too."""
        key = (call, arguments)
        if key not in self._kept:
            try:
                self._kept[key] = call(*arguments)
            except Failed as failed:
                self._kept[key] = failed
        kept: Any = self._kept[key]
        if isinstance(kept, Failed):
            raise Failed(kept.seen, kept.hint)
        return kept  # type: ignore[no-any-return]

    def _build(self, command: tuple[str, ...], most: int, files: tuple[Path, ...]) -> bytes:
        own = {path.name: path.read_bytes() for path in files}
        seconds = max(BUILD_SECONDS, _PATIENCES * self.patience)
        with self.program(*command, files=own, seconds=seconds) as program:
            program.end_input()
            end = program.finish(most=most)
        if end.status != 0:
            raise Failed(f"the build fails: {_first_error(end.errors) or end.complaint}")
        return end.output

    def close(self) -> None:
        """Forgets what was built."""
        self._kept.clear()


def _first_error(errors: bytes) -> str:
    """Returns the first error that a compiler or a linker tells, safe to show; "" if none does.

    The last line of a compiler's complaint only points at a place in the source.
    """
    lines = (line for line in errors.splitlines() if b"rror: " in line or b"undefined" in line)
    return printable(next(lines, b""))
