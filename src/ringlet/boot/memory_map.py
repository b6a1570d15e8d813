"""The memory map, as a PC's firmware reports it; every boot protocol but flat gives it to guests.

Source: ACPI 6.5, 15 (system address map interfaces).
"""

from __future__ import annotations

from ringlet.board.layout import HIGH_MEMORY, LOW_RAM_END

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.kvm.memory import GuestMemory

# Address range types (ACPI 6.5, 15.1).
RAM = 1
RESERVED = 2


def memory_map(memory: GuestMemory) -> list[tuple[int, int, int]]:
    """Returns (address, size, type) for each range."""
    low, *high = memory.regions
    ranges = [(0, min(low.size, LOW_RAM_END), RAM)]
    ranges.append((LOW_RAM_END, HIGH_MEMORY - LOW_RAM_END, RESERVED))
    if low.size > HIGH_MEMORY:
        ranges.append((HIGH_MEMORY, low.size - HIGH_MEMORY, RAM))
    ranges += [(region.address, region.size, RAM) for region in high]
    return ranges
