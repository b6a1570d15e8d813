"""Runs of the workload: processes of their own, and sandboxes of this process."""

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
from ringlet.host.process import read_stat
from ringlet.sandbox import Sandbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SandboxT = TypeVar("SandboxT", bound=Sandbox)
Stdio = tuple[int, int, int]

_MAX_LINE = 1 << 20  # bytes
_MAX_WORDS = 400  # characters of what went wrong
_CHUNK = 1 << 16
_PATIENCE = 10  # seconds, in which a program that lost its workload cleans up


class Streams(Closing):
    """The standard streams of a run, whose ends are `stdio`.

    Its input is /dev/null, or with `input` what `write` is given. `command` is what to try by hand
    where it fails. It has no thread: who reads a line sees when it came.
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
        """The run has its own descriptor of the output by now: its end is the output's."""
        self._theirs.close()

    def read_line(self, timeout: float = 30) -> tuple[int, str]:
        """As `Instance.read_line` says."""
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
        """As `Instance.write` says."""
        if self._input is None:
            raise Unavailable("this run has no input", "ask for words that read it")
        os.write(self._input, data)

    def failure(self, what: str) -> Unavailable:
        """That it failed, in its own words where it has said any, otherwise `what`."""
        said = os.pread(self._errors, _CHUNK, 0).decode(errors="replace")
        message, hint = _words(said)
        return Unavailable(message[:_MAX_WORDS] or what, hint[:_MAX_WORDS] or self._by_hand())

    def too_late(self, what: str) -> Unavailable:
        """That it still runs; what it has said so far is no reason."""
        return Unavailable(what, self._by_hand())

    def _by_hand(self) -> str:
        return f"try it: {shlex.join(self._command)}"

    def close(self) -> None:
        """Closes all descriptors."""
        self._stack.close()


class Spawned(Closing):
    """A command, begun as a process of its own, and all the processes that come of it."""

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
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # which Python ignores
            )
            self._spawned = time.monotonic_ns()
        except OSError as error:
            self._streams.close()
            raise Unavailable(f"{command[0]}: {error.strerror}", "is it installed?") from error
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:  # there are as many descriptors as there may be
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._streams.close()
            raise
        self._waiting = poll()
        self._waiting.register(self._pidfd, POLLIN)
        self._streams.hand_over()

    def wait(self, timeout: float = 30) -> int:
        """As `Instance.wait` says."""
        if self.ended is None and not self._has_ended(timeout):
            raise self._streams.too_late(f"it has not ended after {timeout:g} seconds")
        return self._status

    def _has_ended(self, timeout: float) -> bool:
        if not self._waiting.poll(timeout * 1000):
            return False
        self.ended = time.monotonic_ns()
        with suppress(
            ProcessLookupError, PermissionError
        ):  # all that is left in the group has ended
            os.killpg(self.pid, signal.SIGKILL)  # not waited for yet: the group is its own still
        self._status = self._judge(os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]))
        return True

    def _judge(self, code: int) -> int:
        """The workload's status, of the command's exit code, or -n for signal n."""
        return 128 - code if code < 0 else code

    def failure(self, what: str) -> Unavailable:
        """As `Streams.failure` says."""
        return self._streams.failure(what)

    def processes(self) -> list[int]:
        """As `Instance.processes` says."""
        return tree(self._roots())

    def _roots(self) -> list[int]:
        """Those that aren't descendants of each other; this command's own is the first."""
        return [] if self.ended is not None else [self.pid]

    def exits(self) -> int | None:
        """None: a command tells at its end, at most."""
        return None

    def phases(self) -> dict[str, int]:
        """`spawned`: its program is there, and begins."""
        return {"spawned": self._spawned}

    def close(self) -> None:
        """Ends the workload and lets the command clean up; what is there then is killed."""
        if self.closed:
            return
        until = time.monotonic() + _PATIENCE
        while self.ended is None and time.monotonic() < until:
            roots = self._roots()
            inner = _leaves(roots)
            for pid in inner - set(roots):
                _kill(pid, signal.SIGKILL)
            if inner <= set(roots):  # it has no workload, or is it
                _kill(self.pid, signal.SIGTERM)
            self._has_ended(0.5)
        if self.ended is None:
            for pid in self.processes():
                _kill(pid, signal.SIGKILL)
            self._has_ended(_PATIENCE)
        with suppress(ChildProcessError):  # orphans, if this process adopts them
            while os.waitpid(-self.pid, 0):
                pass
        os.close(self._pidfd)
        self._streams.close()
        self.closed = True


class Launched(Closing, Generic[SandboxT]):
    """A sandbox that this process has made, by `make` with its standard streams, and started.

    `steps` tells when each step of its life was over, in order; the last is its `end`. `roots` are
    the host's processes that were made for it, if they aren't this one.
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
        """As `Instance.wait` says."""
        try:
            outcome = self._sandbox.wait(timeout)
        except RingletError as error:
            raise Unavailable(error.message, error.hint) from error
        if outcome is None:
            raise self._streams.too_late(f"it has not ended after {timeout:g} seconds")
        self.ended = self._steps(self._sandbox)["end"]
        return outcome.status

    def processes(self) -> list[int]:
        """As `Instance.processes` says."""
        return tree([] if self._has_ended() else self._roots(self._sandbox))

    def _has_ended(self) -> bool:
        return self._steps(self._sandbox)["end"] is not None

    def exits(self) -> int | None:
        """Those of all kinds."""
        exits = self._sandbox.usage().exits
        return None if exits is None else sum(exits.values())

    def phases(self) -> dict[str, int]:
        """As `Instance.phases` says."""
        steps = self._steps(self._sandbox).items()
        return {step: at for step, at in steps if at is not None and step != "end"}

    def close(self) -> None:
        """Ends it if it runs, and leaves nothing of it."""
        self._stack.close()


def _words(said: str) -> tuple[str, str]:
    """What a program said of its failure, in a line, and its hint where it is ringlet.

    Others' may be in the format of a log (logrus, as runc and podman have it): `level=error
    msg="..."`.
    """
    printable = "".join(c if c.isprintable() or c == "\n" else " " for c in said)
    lines = list(filter(None, map(str.strip, printable.split("\n"))))
    if lines and lines[0].startswith("ringlet: "):
        hints = (line.removeprefix("hint: ") for line in lines[1:2])
        return lines[0].removeprefix("ringlet: "), next(hints, "")
    logged = re.findall(r'level=(?:error|fatal) msg="((?:[^"\\]|\\.)*)"', "\n".join(lines))
    return "; ".join(logged or lines), ""


def tree(roots: Iterable[int]) -> list[int]:
    """These processes and all that descend from them, but for those that have ended."""
    return [pid for pid, _ in _family(roots)]


def _leaves(roots: Iterable[int]) -> set[int]:
    """Those of `tree` without a child."""
    family = _family(roots)
    return {pid for pid, _ in family} - {parent for _, parent in family}


def _family(roots: Iterable[int]) -> list[tuple[int, int]]:
    """Each process of `tree` and its parent."""
    children: dict[int, list[int]] = {}
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):  # it has ended
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
