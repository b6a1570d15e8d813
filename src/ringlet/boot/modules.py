"""Where a guest's modules lie: at the end of its RAM, the first one highest, around its kernel."""

from __future__ import annotations

from ringlet.board.layout import HIGH_MEMORY, MMIO_HOLE
from ringlet.errors import ConfigError
from ringlet.kvm.memory import PAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringlet.boot.image import Image
    from ringlet.kvm.memory import GuestMemory


def highest_below(end: int, size: int, taken: Sequence[tuple[int, int]]) -> int:
    """The highest page-aligned address of `size` bytes that end at `end` and aren't taken.

    `taken` are ranges, first address and one past the last, in ascending order. The address is
    negative where no room is left.
    """
    address = (end - size) & -PAGE
    for first, past in reversed(taken):  # downwards, as the address goes
        if address < past and first < address + size:
            address = (first - size) & -PAGE
    return address


def module_addresses(
    memory: GuestMemory,
    kernel: Sequence[tuple[int, int]],
    modules: Sequence[Image],
    *,
    limit: int = MMIO_HOLE,
) -> list[int]:
    """A page-aligned address for each module, below `limit` and around the kernel.

    `kernel` are the ranges that it and its boot data take, first address and one past the last, in
    ascending order. Raises `ConfigError` where one doesn't fit.
    """
    addresses = []
    end = min(memory.regions[0].size, limit)
    for image in modules:
        address = highest_below(end, image.size, kernel)
        if address < HIGH_MEMORY:
            raise ConfigError(
                f"module {image.name}, {image.size} bytes, doesn't fit into the guest's memory "
                f"of {memory.size} bytes beside the kernel",
                "give the guest more memory: --memory",
            )
        addresses.append(address)
        end = address
    return addresses
