"""The four debug registers of a processor: hardware breakpoints and watchpoints.

Source: Intel SDM volume 3, 18.2 ("Debug registers").
"""

from __future__ import annotations

from typing import NamedTuple

from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

COUNT = 4
# The conditions, as DR7 has them.
EXECUTE = 0
WRITE = 1
ACCESS = 3  # a read or a write; there is none for reads alone

_LENGTHS = {1: 0, 2: 1, 4: 3, 8: 2}  # of data in bytes, as DR7 has them
_EXACT = 0x600  # GE, and bit 10, which is always 1
DR6_STEP = 1 << 14


class Watch(NamedTuple):
    """What one debug register looks for: its linear address, its size in bytes, its condition."""

    address: int
    size: int
    condition: int


class NoDebugRegisterError(RingletError):
    """All four debug registers are taken."""

    def __init__(self) -> None:
        super().__init__(
            f"a processor has {COUNT} debug registers, and these are not enough",
            "delete a hardware breakpoint or a watchpoint first",
        )


def pieces(address: int, size: int, condition: int) -> list[Watch]:
    """Returns what debug registers can look for: aligned pieces of 1, 2, 4 or 8 bytes.

    Raises `NoDebugRegisterError` if more registers would be needed than a processor has.
    """
    found: list[Watch] = []
    end = address + size
    while address < end:
        length = max(n for n in _LENGTHS if address % n == 0 and n <= end - address)
        found.append(Watch(address, length, condition))
        if len(found) > COUNT:
            raise NoDebugRegisterError
        address += length
    return found


def control_word(watches: Sequence[Watch]) -> list[int]:
    """Returns DR0 to DR7 for at most four watches, in their order."""
    addresses = [watch.address for watch in watches]
    control = _EXACT if watches else 0
    for number, (_, size, condition) in enumerate(watches):
        length = 0 if condition == EXECUTE else _LENGTHS[size]
        control |= 2 << 2 * number | (condition | length << 2) << 16 + 4 * number
    return [*addresses, *[0] * (COUNT - len(addresses)), 0, 0, 0, control]


def hits(dr6: int, watches: Iterable[Watch]) -> list[Watch]:
    """Returns which of `watches`, which the registers hold in this order, DR6 says were met."""
    return [watch for number, watch in enumerate(watches) if dr6 >> number & 1]
