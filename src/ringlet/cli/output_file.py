"""A file that a command writes: the file is replaced as a whole, or stays as it was."""

from __future__ import annotations

import os
import stat

from ringlet.closing import Closing
from ringlet.errors import RingletError


class OutputFile(Closing):
    """A file to write at `path`, which `finish` then moves to its place. Raises `RingletError`.

    A device or a pipe is written directly.
    """

    def __init__(self, path: str) -> None:
        self._place = os.path.realpath(path)
        folder, name = os.path.split(self._place)
        stem, suffix = os.path.splitext(name)
        self.path = os.path.join(folder, f".{stem[:100]}.{os.getpid()}{suffix}")
        self._is_ours = False
        try:
            if _is_special(path):
                self.path = path
            else:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                os.close(os.open(self.path, flags, 0o666))
                self._is_ours = True
        except OSError as error:
            raise RingletError(
                f"can't write {path}: {error.strerror}", "name a file that you may write"
            ) from None

    def finish(self) -> None:
        """Replaces the file by the written one."""
        if self._is_ours:
            os.replace(self.path, self._place)
            self._is_ours = False

    def close(self) -> None:
        """Removes the written file, unless `finish` was called."""
        if self._is_ours:
            self._is_ours = False
            os.unlink(self.path)


def _is_special(path: str) -> bool:
    """Returns whether `path` is a device or a pipe. Raises `OSError` for a folder."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(0, "it is a folder")
    return not stat.S_ISREG(mode)
