"""Where the boot data lies: at the start of memory, or where a kernel that lies there leaves room.

It is the stack at entry, the GDT, the start info (or the Multiboot information), the command
lines and the page tables: one block, which board/layout.py draws, and which is moved as a whole.
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
    """How far up the boot data is moved from where layout.py draws it: 0 where that is free.

    `kernel` are the ranges that the kernel takes, first address and one past the last, in ascending
    order. Raises `ConfigError` where no room is left.
    """
    if not kernel or kernel[0][0] >= BOOT_DATA_END:
        return 0
    ram = memory.regions[0].size
    # A kernel that is linked this low may use it in real mode, which ends at 1 MiB.
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
