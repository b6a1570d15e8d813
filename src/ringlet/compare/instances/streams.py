"""The standard streams of a run of the workload, and the error message that they tell."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections import deque
from contextlib import ExitStack
from select import POLLIN, poll

from ringlet.closing import Closing
from ringlet.compare.instances import Unavailable

_MAX_LINE = 1 << 20  # bytes
_MAX_WORDS = 400  # characters of an error message
_CHUNK = 1 << 16


class Streams(Closing):
    """The standard streams of a run. The run gets the descriptors `stdio`.

    The run's input is /dev/null, or with `input` the data given to `write`. The hint of an error
    shows `command`, to try it by hand. Streams have no thread: `read_line` itself takes the time at
    which a line arrives.
    """

    def __init__(self, command: list[str], *, input: bool = False) -> None:
        self._command = command
        self._lines: deque[tuple[int, str]] = deque()
        self._partial = b""
        self._at_end = False
        self._input: int | None = None
        with ExitStack() as stack:
            if input:
                stdin, self._input = os.pipe()
                stack.callback(os.close, self._input)
            else:
                stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, stdin)
            self._output, stdout = os.pipe()
            stack.callback(os.close, self._output)
            self._theirs = stack.enter_context(ExitStack())
            self._theirs.callback(os.close, stdout)
            self._errors = os.memfd_create("stderr")
            stack.callback(os.close, self._errors)
            self.stdio = (stdin, stdout, self._errors)
            self._waiting = poll()
            self._waiting.register(self._output, POLLIN)
            self._stack = stack.pop_all()

    def hand_over(self) -> None:
        """Closes our write end of the output, which then ends when the run closes its own."""
        self._theirs.close()

    def read_line(self, timeout: float = 30) -> tuple[int, str]:
        """Does as `Instance.read_line` says."""
        until = time.monotonic() + timeout
        while not self._lines:
            if self._at_end:
                raise self.failure("its output has ended")
            if not self._waiting.poll(max(0.0, until - time.monotonic()) * 1000):
                raise self.too_late(f"it said nothing for {timeout:g} seconds")
            now = time.monotonic_ns()
            self._take(os.read(self._output, _CHUNK), now)
        return self._lines.popleft()

    def _take(self, data: bytes, now: int) -> None:
        *whole, self._partial = (self._partial + data).split(b"\n")
        if not data:
            self._at_end = True
            whole = [self._partial] if self._partial else []
        elif len(self._partial) > _MAX_LINE:
            raise self.failure("a line of its output has no end")
        self._lines.extend((now, line.rstrip(b"\r").decode(errors="replace")) for line in whole)

    def write(self, data: bytes) -> None:
        """Does as `Instance.write` says."""
        if self._input is None:
            raise Unavailable("this run has no input", "ask for words that read it")
        os.write(self._input, data)

    def failure(self, what: str) -> Unavailable:
        """Returns the error of a failed run: the run's own error message, or else `what`."""
        said = os.pread(self._errors, _CHUNK, 0).decode(errors="replace")
        message, hint = _words(said)
        return Unavailable(message[:_MAX_WORDS] or what, hint[:_MAX_WORDS] or self._by_hand())

    def too_late(self, what: str) -> Unavailable:
        """Returns the error of a run that takes too long. Its output so far isn't the reason."""
        return Unavailable(what, self._by_hand())

    def _by_hand(self) -> str:
        return f"try it: {shlex.join(self._command)}"

    def close(self) -> None:
        """Closes all descriptors."""
        self._stack.close()


def _words(said: str) -> tuple[str, str]:
    """Returns a program's error message in one line, and the hint if the program is ringlet.

    The messages of other programs may have the format of a log. runc and podman use logrus:
    `level=error msg="..."`.
    """
    printable = "".join(c if c.isprintable() or c == "\n" else " " for c in said)
    lines = list(filter(None, map(str.strip, printable.split("\n"))))
    if lines and lines[0].startswith("ringlet: "):
        hints = (line.removeprefix("hint: ") for line in lines[1:2])
        return lines[0].removeprefix("ringlet: "), next(hints, "")
    logged = re.findall(r'level=(?:error|fatal) msg="((?:[^"\\]|\\.)*)"', "\n".join(lines))
    return "; ".join(logged or lines), ""
