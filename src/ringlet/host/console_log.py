"""The last that a guest's console said: what is shown when it came to a bad end."""

from collections.abc import Callable

SIZE = 256 << 10  # bytes kept; at times twice as many are
_PANIC = b"Kernel panic - not syncing"  # Linux, kernel/panic.c


class ConsoleLog:
    """Keeps the end of what passes through `transmit` on its way to `next`."""

    def __init__(self, next: Callable[[bytes], object]) -> None:
        self._next = next
        self._data = bytearray()

    def transmit(self, data: bytes) -> None:
        """Keeps `data`, and hands it on."""
        kept = self._data
        kept += data
        if len(kept) > 2 * SIZE:
            del kept[:-SIZE]
        self._next(data)

    @property
    def tail(self) -> bytes:
        """At most `SIZE` bytes."""
        return bytes(self._data[-SIZE:])

    @property
    def tells_of_panic(self) -> bool:
        """Whether Linux said that it panicked, which not every kernel has a device for."""
        return _PANIC in self._data
