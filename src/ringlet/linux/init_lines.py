"""The lines that init says over its port `ringlet.control`. csrc/init/control.c lists them."""

from __future__ import annotations

from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_LINE = 4096  # bytes of the longest line


class InitLines:
    """Calls `on_line` with the first word of each line, and with the rest of the line."""

    def __init__(self, on_line: Callable[[str, str], object]) -> None:
        self._on_line = on_line
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes the next bytes. Raises `RingletError` if they are a line that is too long."""
        self._data += data
        while (length := self._data.find(b"\n")) >= 0:
            line = self._data[:length].decode("utf-8", "replace")
            del self._data[: length + 1]
            word, _, rest = line.partition(" ")
            self._on_line(word, rest)
        if len(self._data) > _LINE:
            raise RingletError("the machine says a line without end", "say so, with its kernel")


def parse_status(text: str) -> tuple[int, int, int] | None:
    """Returns a command's status and its bytes of output and of errors; None for other text."""
    numbers = text.split()
    if len(numbers) != 3 or not all(n.isascii() and n.isdigit() and len(n) < 20 for n in numbers):
        return None
    status, output, errors = map(int, numbers)
    return status, output, errors
