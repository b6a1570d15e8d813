"""A guest's memory without a VM, and what a guest finds there after a loader's work."""

from collections.abc import Iterable
from typing import NamedTuple

from ringlet.board import layout
from ringlet.kvm.memory import GuestMemory, anonymous


def guest_memory(size: int) -> GuestMemory:
    """`size` bytes of RAM, where the board puts them."""
    return GuestMemory([anonymous(address, size) for address, size in layout.ram_ranges(size)])


def written_outside(memory: GuestMemory, ranges: Iterable[tuple[int, int]]) -> bool:
    """Whether a byte outside the `ranges` of (address, size) isn't zero. Clears the ranges."""
    for address, size in ranges:
        memory.write(address, bytes(size))
    return any(bytes(region.view) != bytes(region.size) for region in memory.regions)


def boot_data_beside(segments: Iterable[tuple[int, int]], start_info: int) -> tuple[int, int]:
    """Address and size of what may be written of the boot data whose start info lies there.

    All of it, the stack too, must lie beside the `segments` of (address, size).
    """
    offset = start_info - layout.START_INFO
    end = offset + layout.BOOT_DATA_END
    assert offset >= 0
    for address, size in segments:
        assert address + size <= offset or end <= address
    return offset + layout.BOOT_DATA, layout.BOOT_DATA_END - layout.BOOT_DATA


class StartInfo(NamedTuple):
    """What a guest reads, field by field, at the offsets of Xen's start_info.h."""

    magic: int
    version: int
    flags: int
    rsdp: int
    reserved: int
    command_line: bytes
    modules: list[tuple[int, int, bytes]]  # address, size, command line
    memory_map: list[tuple[int, int, int]]  # address, size, type


def number(memory: GuestMemory, address: int, size: int) -> int:
    """An integer of `size` bytes."""
    return int.from_bytes(memory.read(address, size), "little")


def string(memory: GuestMemory, address: int) -> bytes:
    """What stands before the next NUL."""
    return memory.read(address, 0x2000).split(b"\0")[0]


def read_start_info(memory: GuestMemory, at: int = layout.START_INFO) -> StartInfo:
    """The start info, the tables it points to, and their strings."""
    modules = []
    for index in range(number(memory, at + 12, 4)):
        entry = number(memory, at + 16, 8) + 32 * index
        assert number(memory, entry + 24, 8) == 0
        line = string(memory, number(memory, entry + 16, 8))
        modules.append((number(memory, entry, 8), number(memory, entry + 8, 8), line))
    memory_map = []
    for index in range(number(memory, at + 48, 4)):
        entry = number(memory, at + 40, 8) + 24 * index
        assert number(memory, entry + 20, 4) == 0
        memory_map.append(
            (number(memory, entry, 8), number(memory, entry + 8, 8), number(memory, entry + 16, 4))
        )
    return StartInfo(
        number(memory, at, 4),
        number(memory, at + 4, 4),
        number(memory, at + 8, 4),
        number(memory, at + 32, 8),
        number(memory, at + 52, 4),
        string(memory, number(memory, at + 24, 8)),
        modules,
        memory_map,
    )
