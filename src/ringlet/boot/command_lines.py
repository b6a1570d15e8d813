"""Gives addresses to the command lines of the kernel and its modules, one page for all lines."""

from __future__ import annotations

from ringlet.board.layout import COMMAND_LINE, COMMAND_LINE_SIZE
from ringlet.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def command_line_addresses(lines: Sequence[bytes], page: int = COMMAND_LINE) -> list[int]:
    """Returns the address of each line in the page at `page`; a NUL byte ends each line.

    Raises `ConfigError` for lines that don't fit into the page, and for a line with a NUL byte.
    """
    addresses = []
    address = page
    for line in lines:
        if b"\0" in line:
            raise ConfigError("a command line has a NUL byte in it", "leave it out: it is the end")
        addresses.append(address)
        address += len(line) + 1
    if address > page + COMMAND_LINE_SIZE:
        raise ConfigError(
            f"the command lines of kernel and modules take {address - page} bytes, "
            f"{COMMAND_LINE_SIZE} fit",
            "shorten them",
        )
    return addresses
