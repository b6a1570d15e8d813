"""Runs of the workload as sandboxes of this process."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Generic, TypeVar

from ringlet.closing import Closing
from ringlet.compare.instances import Unavailable
from ringlet.compare.instances.processes import tree
from ringlet.errors import RingletError
from ringlet.sandbox import Sandbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ringlet.compare.instances.streams import Streams

SandboxT = TypeVar("SandboxT", bound=Sandbox)
Stdio = tuple[int, int, int]


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
