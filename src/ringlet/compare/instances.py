"""Runs of the workload: as processes of their own, and as sandboxes of this process."""

from __future__ import annotations

import os
import re
import shlex
import signal
import time
from collections import deque
from contextlib import ExitStack, suppress
from select import POLLIN, poll
from typing import Generic, TypeVar

from ringlet.closing import Closing
from ringlet.compare.ways import Unavailable
from ringlet.errors import RingletError
from ringlet.host.process_stat import read_stat
from ringlet.sandbox import Sandbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SandboxT = TypeVar("SandboxT", bound=Sandbox)
Stdio = tuple[int, int, int]

_MAX_LINE = 1 << 20  # bytes
_MAX_WORDS = 400  # characters of an error message
_CHUNK = 1 << 16
_PATIENCE = 10  # seconds for a program to clean up after its workload has ended


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


class Spawned(Closing):
    """A command that was started as a process of its own, and all processes that it starts."""

    def __init__(self, command: list[str], *, input: bool = False) -> None:
        self.command = command
        self._streams = Streams(command, input=input)
        self.read_line, self.write = self._streams.read_line, self._streams.write
        self.ended: int | None = None
        self.closed = False
        self._status = 0
        actions = [
            (os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(self._streams.stdio)
        ]
        try:
            self.began = time.monotonic_ns()
            self.pid = os.posix_spawnp(
                command[0],
                command,
                os.environ,
                file_actions=actions,
                setpgroup=0,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # Python ignores these signals
            )
            self._spawned = time.monotonic_ns()
        except OSError as error:
            self._streams.close()
            raise Unavailable(f"{command[0]}: {error.strerror}", "is it installed?") from error
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:  # no more descriptors can be opened
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._streams.close()
            raise
        self._waiting = poll()
        self._waiting.register(self._pidfd, POLLIN)
        self._streams.hand_over()

    def wait(self, timeout: float = 30) -> int:
        """Does as `Instance.wait` says."""
        if self.ended is None and not self._has_ended(timeout):
            raise self._streams.too_late(f"it has not ended after {timeout:g} seconds")
        return self._status

    def _has_ended(self, timeout: float) -> bool:
        if not self._waiting.poll(timeout * 1000):
            return False
        self.ended = time.monotonic_ns()
        with suppress(ProcessLookupError, PermissionError):  # the group has no process left
            os.killpg(self.pid, signal.SIGKILL)  # before waitpid(), its id can't be reused
        self._status = self._judge(os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]))
        return True

    def _judge(self, code: int) -> int:
        """Returns the workload's status for the command's exit code, which is -n for signal n."""
        return 128 - code if code < 0 else code

    def failure(self, what: str) -> Unavailable:
        """Does as `Streams.failure` says."""
        return self._streams.failure(what)

    def processes(self) -> list[int]:
        """Does as `Instance.processes` says."""
        return tree(self._roots())

    def _roots(self) -> list[int]:
        """Returns the roots of the run's process trees; the command itself is the first."""
        return [] if self.ended is not None else [self.pid]

    def exits(self) -> int | None:
        """Returns None: a command reports its exits at its end, if at all."""
        return None

    def phases(self) -> dict[str, int]:
        """Returns the step `spawned`: the command's program was loaded, and begins."""
        return {"spawned": self._spawned}

    def close(self) -> None:
        """Ends the workload, lets the command clean up, and then kills all processes left."""
        if self.closed:
            return
        until = time.monotonic() + _PATIENCE
        while self.ended is None and time.monotonic() < until:
            roots = self._roots()
            inner = _leaves(roots)
            for pid in inner - set(roots):
                _kill(pid, signal.SIGKILL)
            if inner <= set(roots):  # the command has no workload, or is the workload
                _kill(self.pid, signal.SIGTERM)
            self._has_ended(0.5)
        if self.ended is None:
            for pid in self.processes():
                _kill(pid, signal.SIGKILL)
            self._has_ended(_PATIENCE)
        with suppress(ChildProcessError):  # waits for orphans, if this process adopts them
            while os.waitpid(-self.pid, 0):
                pass
        os.close(self._pidfd)
        self._streams.close()
        self.closed = True


class LaunchedSandbox(Closing, Generic[SandboxT]):
    """A sandbox of this process: `make` makes it with the standard streams, and it is started.

    `steps` returns when each step of the sandbox's life was over, in order; the last step is `end`.
    `roots` returns the host's processes that were made for the sandbox, without our own.
    """

    def __init__(
        self,
        make: Callable[[Stdio], SandboxT],
        streams: Streams,
        steps: Callable[[SandboxT], Mapping[str, int | None]],
        roots: Callable[[SandboxT], list[int]] = lambda sandbox: [],
    ) -> None:
        self._streams, self._steps, self._roots = streams, steps, roots
        self.read_line, self.write = streams.read_line, streams.write
        self.ended: int | None = None
        with ExitStack() as stack:
            stack.callback(streams.close)
            try:
                self.began = time.monotonic_ns()
                self._sandbox = make(streams.stdio)
                stack.callback(self._sandbox.close)
                self._sandbox.start()
            except RingletError as error:
                raise Unavailable(error.message, error.hint) from error
            self._stack = stack.pop_all()
        streams.hand_over()

    def wait(self, timeout: float = 30) -> int:
        """Does as `Instance.wait` says."""
        try:
            outcome = self._sandbox.wait(timeout)
        except RingletError as error:
            raise Unavailable(error.message, error.hint) from error
        if outcome is None:
            raise self._streams.too_late(f"it has not ended after {timeout:g} seconds")
        self.ended = self._steps(self._sandbox)["end"]
        return outcome.status

    def processes(self) -> list[int]:
        """Does as `Instance.processes` says."""
        return tree([] if self._has_ended() else self._roots(self._sandbox))

    def _has_ended(self) -> bool:
        return self._steps(self._sandbox)["end"] is not None

    def exits(self) -> int | None:
        """Returns the number of exits of all kinds."""
        exits = self._sandbox.usage().exits
        return None if exits is None else sum(exits.values())

    def phases(self) -> dict[str, int]:
        """Does as `Instance.phases` says."""
        steps = self._steps(self._sandbox).items()
        return {step: at for step, at in steps if at is not None and step != "end"}

    def close(self) -> None:
        """Ends the sandbox if it runs, and removes everything that was made for it."""
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


def tree(roots: Iterable[int]) -> list[int]:
    """Returns the processes `roots` and all their descendants, without those that have ended."""
    return [pid for pid, _ in _family(roots)]


def _leaves(roots: Iterable[int]) -> set[int]:
    """Returns the processes of `tree` that have no child."""
    family = _family(roots)
    return {pid for pid, _ in family} - {parent for _, parent in family}


def _family(roots: Iterable[int]) -> list[tuple[int, int]]:
    """Returns each process of `tree`, and its parent."""
    children: dict[int, list[int]] = {}
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):  # the process has ended
                state, parent = read_stat(name)[:2]
                if state not in b"ZX":
                    parents[int(name)] = int(parent)
                    children.setdefault(int(parent), []).append(int(name))
    found = [(root, parents[root]) for root in roots if root in parents]
    for pid, _ in found:
        found += [(child, pid) for child in children.get(pid, ()) if child not in roots]
    return found


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
