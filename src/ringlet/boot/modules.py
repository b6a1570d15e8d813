"""Gives addresses to a guest's modules: at the end of RAM, outside the kernel, the first on top."""

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
    """Returns the highest page-aligned address of `size` free bytes below `end`.

    `taken` lists the ranges that aren't free, in ascending order: the first address of each and
    one past its last. The result is negative if no room is left.
    """
    address = (end - size) & -PAGE
    for first, past in reversed(taken):  # downwards, because the address only moves down
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
    """Returns a page-aligned address for each module, below `limit` and outside the kernel.

    `kernel` lists the ranges that the kernel and its boot data take, in ascending order: the first
    address of each and one past its last. Raises `ConfigError` if a module doesn't fit.
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
