"""One poll loop for several parts: descriptors, signals and processes.

A part has the methods `watch` and `step`. The loop waits in one place, and no part waits:

    while going_on:
        ready = wait(parts)
        for part in parts:
            part.step(ready)

Source: poll(2).
"""

from __future__ import annotations

from select import POLLIN, poll

TYPE_CHECKING = False  # of `typing`, whose import takes as long as the interpreter's start
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    Ready = dict[int, int]  # the events that poll() returned for each descriptor

    class Part(Protocol):
        """Something that a loop polls for."""

        def watch(self) -> list[tuple[int, int]]:
            """Returns the descriptors to poll, with the events after which to call `step`."""

        def step(self, ready: Ready) -> None:
            """Does the work that needs no waiting."""


class End:
    """A part that notes an end: `came` is True once `fd` is readable, for example a pidfd."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.came = False

    def watch(self) -> list[tuple[int, int]]:
        """Returns the descriptor."""
        return [(self._fd, POLLIN)]

    def step(self, ready: Ready) -> None:
        """Notes whether the end has come."""
        self.came = self._fd in ready


def wait(parts: Iterable[Part], seconds: float | None = None) -> Ready:
    """Waits until a part has something to do, at most `seconds`; returns the ready descriptors."""
    waiting = poll()
    for part in parts:
        for fd, events in part.watch():
            waiting.register(fd, events)
    # Round up, so that work that is due after `seconds` is due when the wait is over.
    return dict(waiting.poll(None if seconds is None else -int(-seconds * 1000 // 1)))
