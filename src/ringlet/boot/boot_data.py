"""Chooses the place of the boot data: the start of memory, or another place if a kernel is there.

The boot data is one block: the stack at entry, the GDT, the start info (or the Multiboot
information), the command lines and the page tables. board/layout.py draws this block. The block
moves as a whole.
"""

from __future__ import annotations

from ringlet.board.layout import BOOT_DATA_END, HIGH_MEMORY, LOW_RAM_END, MMIO_HOLE
from ringlet.boot.modules import highest_below
from ringlet.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringlet.kvm.memory import GuestMemory


def place_boot_data(memory: GuestMemory, kernel: Sequence[tuple[int, int]]) -> int:
    """Returns how far up the boot data moves from its place in board/layout.py: 0 if that is free.

    `kernel` lists the ranges that the kernel takes, in ascending order: the first address of each
    and one past its last. Raises `ConfigError` if no room is left.
    """
    if not kernel or kernel[0][0] >= BOOT_DATA_END:
        return 0
    ram = memory.regions[0].size
    # A kernel that is linked this low may use the boot data in real mode, which ends at 1 MiB.
    address = highest_below(min(ram, LOW_RAM_END), BOOT_DATA_END, kernel)
    if address < 0:
        address = highest_below(min(ram, MMIO_HOLE), BOOT_DATA_END, kernel)
        if address < HIGH_MEMORY:
            raise ConfigError(
                f"the boot data, {BOOT_DATA_END} bytes, doesn't fit into the guest's memory of "
                f"{memory.size} bytes beside the kernel",
                "give the guest more memory: --memory",
            )
    return address
