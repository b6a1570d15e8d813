"""The log of `ringlet-oci`: lines for container engines, or for people.

Container engines look through the log for the reason of a failure. In their format each line is a
JSON object with level, msg and time.
"""

from __future__ import annotations

import errno
import os
import sys
from time import gmtime, strftime, time_ns

from ringlet.container.fast_json import dumps
from ringlet.host.named_file import is_ours_or_roots, keeps_names

# O_NONBLOCK: a FIFO without a reader must not make us wait.
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Log:
    """Writes lines to the file `path`, or to standard error; drops lines that can't be written."""

    def __init__(self, path: str | None = None, *, json: bool = False, debug: bool = False) -> None:
        self._path = path
        self._json = json
        self._debug = debug

    def debug(self, message: str) -> None:
        """Writes a message that helps to find a fault; only if debug messages are on."""
        if self._debug:
            self._write("debug", message)

    def warning(self, message: str) -> None:
        """Writes that something went wrong, and that the work goes on."""
        self._write("warning", message)

    def error(self, message: str) -> None:
        """Writes why nothing was done, in any case to standard error as well."""
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
            os.write(fd, text.encode() + b"\n")  # in one write: others append, too
        except OSError:
            pass
        finally:
            os.close(fd)


def _open(path: str) -> int:
    """Opens the log; follows a link only if no other user can have made it to choose the file."""
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
    """Returns the time, in UTC, in the form of RFC 3339."""
    seconds, nanoseconds = divmod(time_ns(), 10**9)
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds)) + f".{nanoseconds:09}Z"


def _show(message: str) -> None:
    if sys.stderr is not None:
        # A name in the message may have line breaks, or control sequences of a terminal.
        line = message if message.isprintable() else ascii(message)[1:-1]
        try:
            print(f"ringlet-oci: {line}", file=sys.stderr, flush=True)
        except OSError:  # nobody reads the log; the exit status has to be enough
            pass
