"""Parts that one loop polls for: descriptors, signals and processes, tied together.

A part has `watch` and `step`. A loop over parts waits in one place, and nothing in a part waits:

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

    Ready = dict[int, int]  # descriptor to the events that poll() gave it

    class Part(Protocol):
        """Something that a loop polls for."""

        def watch(self) -> list[tuple[int, int]]:
            """Descriptors to poll, with the events that make `step` worth while."""

        def step(self, ready: Ready) -> None:
            """Does what can be done without waiting."""


class End:
    """A part that sees the end of a process, or of another thing whose `fd` is readable then."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.came = False

    def watch(self) -> list[tuple[int, int]]:
        """The descriptor."""
        return [(self._fd, POLLIN)]

    def step(self, ready: Ready) -> None:
        """Sees whether the end has come."""
        self.came = self._fd in ready


def wait(parts: Iterable[Part], seconds: float | None = None) -> Ready:
    """Waits until a part has something to do, `seconds` at most."""
    waiting = poll()
    for part in parts:
        for fd, events in part.watch():
            waiting.register(fd, events)
    # Rounded up: what is due then is due when the wait is over.
    return dict(waiting.poll(None if seconds is None else -int(-seconds * 1000 // 1)))
