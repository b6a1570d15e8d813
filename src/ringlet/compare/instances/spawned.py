"""Runs of the workload as processes of their own."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from select import POLLIN, poll

from ringlet.closing import Closing
from ringlet.compare.instances import Unavailable
from ringlet.compare.instances.processes import leaves, tree
from ringlet.compare.instances.streams import Streams

_PATIENCE = 10  # seconds for a program to clean up after its workload has ended


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
            inner = leaves(roots)
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


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
