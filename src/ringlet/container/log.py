"""The log of `ringlet-oci`: lines that engines read, or people.

The engines' form, which they look through for the reason of a failure, is a JSON object a line:
level, msg, time.
"""

from __future__ import annotations

import errno
import os
import sys
from time import gmtime, strftime, time_ns

from ringlet.container.fast_json import dumps
from ringlet.host.named_file import is_ours_or_roots, keeps_names

# A FIFO that nobody reads is no reason to wait.
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Log:
    """Lines to the file `path`, or to standard error. What can't be written is lost."""

    def __init__(self, path: str | None = None, *, json: bool = False, debug: bool = False) -> None:
        self._path = path
        self._json = json
        self._debug = debug

    def debug(self, message: str) -> None:
        """Of use to who looks for a fault; written only if asked for."""
        if self._debug:
            self._write("debug", message)

    def warning(self, message: str) -> None:
        """Something went wrong, and the work goes on."""
        self._write("warning", message)

    def error(self, message: str) -> None:
        """Why nothing was done. Standard error has it in any case."""
        if self._path is not None:
            self._write("error", message)
        _show(message)

    def _write(self, level: str, message: str) -> None:
        if self._path is None:
            _show(message if level == "error" else f"{level}: {message}")
            return
        line = {"level": level, "msg": message, "time": now()}
        text = (
            dumps(line)
            if self._json
            else f'time="{line["time"]}" level={level} msg={dumps(message)}'
        )
        try:
            fd = _open(self._path)
        except OSError:
            return
        try:
            os.write(fd, text.encode() + b"\n")  # at once: others append to the file, too
        except OSError:
            pass
        finally:
            os.close(fd)


def _open(path: str) -> int:
    """Follows a link only if nobody else can have laid it: who can would choose the file."""
    try:
        return os.open(path, _FLAGS | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        folder = os.stat(os.path.dirname(path) or ".")
        if not (keeps_names(folder) and is_ours_or_roots(os.lstat(path))):
            raise
    return os.open(path, _FLAGS, 0o600)  # as /dev/stderr


def now() -> str:
    """The time, in UTC, by RFC 3339."""
    seconds, nanoseconds = divmod(time_ns(), 10**9)
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds)) + f".{nanoseconds:09}Z"


def _show(message: str) -> None:
    if sys.stderr is not None:
        # A name in it may have line breaks, or what a terminal obeys.
        line = message if message.isprintable() else ascii(message)[1:-1]
        try:
            print(f"ringlet-oci: {line}", file=sys.stderr, flush=True)
        except OSError:  # nobody reads it; the status has to do
            pass
