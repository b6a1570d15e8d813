"""Runs many instances of one way at once, within a share of the host's free memory."""

from __future__ import annotations

import os
from contextlib import ExitStack

from ringlet.closing import Closing
from ringlet.compare.instances import MIB, Unavailable
from ringlet.compare.instances.footprint import available, footprint
from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.compare.instances import Instance, Request
    from ringlet.compare.lab import Settings
    from ringlet.compare.ways import Way

_KERNEL = MIB  # memory of the host's kernel for an instance, which no process shows
_GIB = 1 << 30
_PATIENCE = 120  # seconds, for a kernel to boot while others do


class Full(Unavailable):
    """The limit of instances is reached: one more instance could not be started."""


class Crowd(Closing):
    """Instances of `way`. `instances` are the started ones; `close` ends all of them."""

    def __init__(self, way: Way, request: Request, settings: Settings) -> None:
        self._way = way
        self._request = request
        self.instances: list[Instance] = []
        self._free = available()
        self._limit = int(self._free * settings.memory_share)
        self._stack = ExitStack()

    def grow(self, count: int) -> None:
        """Starts instances until `count` of them work.

        Raises `Unavailable` before the start if, by the memory of the instances so far, `count`
        instances would take more memory than allowed. Raises `Full` if the next instance can't be
        started.
        """
        if not self.instances:
            self._start(1)
        self._check(count)
        at_once = 2 * (os.cpu_count() or 1)  # with more, the last one would wait too long
        while len(self.instances) < count:
            self._start(min(at_once, count - len(self.instances)))
            if self._free - available() > self._limit:
                raise Full(f"all of the {self._share()} is taken", "ask for fewer: --instances")

    def processes(self) -> list[int]:
        """Returns the processes of all instances."""
        return [pid for instance in self.instances for pid in instance.processes()]

    def _check(self, count: int) -> None:
        size, page_tables = footprint(self.processes())
        need = count * ((size + page_tables) / len(self.instances) + _KERNEL)
        if need > self._limit:
            raise Unavailable(
                f"{count} at once would take {need / _GIB:.1f} GiB, more than the {self._share()}",
                "ask for fewer: --instances",
            )

    def _share(self) -> str:
        return f"{self._limit / _GIB:.1f} GiB of the host's free memory that they may have"

    def _start(self, count: int) -> None:
        begun: list[Instance] = []
        failure: OSError | RingletError | None = None
        try:
            for _ in range(count):
                begun.append(self._way.spawn(self._request))
                self._stack.callback(begun[-1].close)
        except (OSError, RingletError) as error:
            failure = error
        try:
            for instance in begun:
                instance.read_line(_PATIENCE)
                self.instances.append(instance)
        except RingletError as error:
            failure = failure or error
        if isinstance(failure, RingletError):
            raise Full(failure.message, failure.hint) from failure
        if failure is not None:
            raise Full(str(failure), "look at `ulimit -a`") from failure

    def close(self) -> None:
        """Ends all instances."""
        self._stack.close()
