"""The start info: what a PVH guest, and a 64-bit ELF guest, learns from ringlet.

A struct hvm_start_info, version 1, with the memory map and the module list behind it; the
command lines lie in a page of their own. Source: Xen, public/arch-x86/hvm/start_info.h.
"""

from collections.abc import Sequence
from struct import Struct

from ringlet.board.layout import (
    COMMAND_LINE,
    COMMAND_LINE_SIZE,
    HIGH_MEMORY,
    LOW_RAM_END,
    START_INFO,
    START_INFO_SIZE,
)
from ringlet.boot.elf import ProgramHeader
from ringlet.boot.image import Image
from ringlet.errors import ConfigError
from ringlet.kvm.memory import PAGE, GuestMemory

MAGIC = 0x336EC578
VERSION = 1

# hvm_start_info: magic, version, flags, nr_modules, modlist_paddr, cmdline_paddr, rsdp_paddr,
# memmap_paddr, memmap_entries, reserved
START = Struct("<4I4Q2I")
MEMORY_MAP_ENTRY = Struct("<2Q2I")  # hvm_memmap_table_entry: addr, size, type, reserved
MODULE = Struct("<4Q")  # hvm_modlist_entry: paddr, size, cmdline_paddr, reserved

# Address range types (ACPI 6.5, 15.1).
RAM = 1
RESERVED = 2


def write_start_info(
    memory: GuestMemory,
    segments: Sequence[ProgramHeader],
    command_line: bytes,
    modules: Sequence[tuple[Image, bytes]],
) -> None:
    """Write it at `START_INFO`, and load the modules, each with its command line.

    Modules lie page-aligned at the end of RAM below 3 GiB, the first one highest, and around
    the kernel's `segments`, which are in the order of their addresses. Raises `ConfigError`
    where something doesn't fit.
    """
    lines = [command_line, *(line for _, line in modules)]
    line_addresses = _line_addresses(lines)
    memory_map = _memory_map(memory)
    memory_map_address = START_INFO + START.size
    module_list_address = memory_map_address + len(memory_map) * MEMORY_MAP_ENTRY.size
    most = (START_INFO + START_INFO_SIZE - module_list_address) // MODULE.size
    if len(modules) > most:
        raise ConfigError(
            f"{len(modules)} modules are too many, {most} fit", "put them into one archive"
        )
    addresses = _module_addresses(memory, segments, modules)

    info = START.pack(
        MAGIC,
        VERSION,
        0,
        len(modules),
        module_list_address if modules else 0,
        line_addresses[0],
        0,
        memory_map_address,
        len(memory_map),
        0,
    )
    info += b"".join(MEMORY_MAP_ENTRY.pack(*entry, 0) for entry in memory_map)
    for (image, _), address, line in zip(modules, addresses, line_addresses[1:], strict=True):
        info += MODULE.pack(address, image.size, line, 0)
        image.load(memory, 0, address, image.size)
    memory.write(START_INFO, info)
    memory.write(COMMAND_LINE, b"".join(line + b"\0" for line in lines))


def _line_addresses(lines: Sequence[bytes]) -> list[int]:
    addresses = []
    address = COMMAND_LINE
    for line in lines:
        if b"\0" in line:
            raise ConfigError("a command line has a NUL byte in it", "leave it out: it is the end")
        addresses.append(address)
        address += len(line) + 1
    if address > COMMAND_LINE + COMMAND_LINE_SIZE:
        raise ConfigError(
            f"the command lines of kernel and modules take {address - COMMAND_LINE} bytes, "
            f"{COMMAND_LINE_SIZE} fit",
            "shorten them",
        )
    return addresses


def _memory_map(memory: GuestMemory) -> list[tuple[int, int, int]]:
    """(address, size, type) of each range: RAM as a PC's firmware would report it."""
    low, *high = memory.regions
    ranges = [(0, min(low.size, LOW_RAM_END), RAM)]
    ranges.append((LOW_RAM_END, HIGH_MEMORY - LOW_RAM_END, RESERVED))
    if low.size > HIGH_MEMORY:
        ranges.append((HIGH_MEMORY, low.size - HIGH_MEMORY, RAM))
    ranges += [(region.address, region.size, RAM) for region in high]
    return ranges


def _module_addresses(
    memory: GuestMemory,
    segments: Sequence[ProgramHeader],
    modules: Sequence[tuple[Image, bytes]],
) -> list[int]:
    addresses = []
    end = memory.regions[0].size
    for image, _ in modules:
        address = (end - image.size) & -PAGE
        for segment in reversed(segments):  # downwards, as the address goes
            if address < segment.end and segment.address < address + image.size:
                address = (segment.address - image.size) & -PAGE
        if address < HIGH_MEMORY:
            raise ConfigError(
                f"module {image.name}, {image.size} bytes, doesn't fit into the guest's memory "
                f"of {memory.size} bytes beside the kernel",
                "give the guest more memory: --memory",
            )
        addresses.append(address)
        end = address
    return addresses
