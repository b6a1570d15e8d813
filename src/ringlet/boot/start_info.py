"""The start info: what a PVH guest, and a 64-bit ELF guest, learns from ringlet.

A struct hvm_start_info, version 1, with the memory map and the module list behind it; the
command lines lie in a page of their own. Source: Xen, public/arch-x86/hvm/start_info.h.
"""

from collections.abc import Sequence
from struct import Struct

from ringlet.board.layout import (
    COMMAND_LINE,
    HIGH_MEMORY,
    RSDP,
    START_INFO,
    START_INFO_SIZE,
)
from ringlet.boot.command_lines import command_line_addresses
from ringlet.boot.elf import ProgramHeader
from ringlet.boot.image import Image
from ringlet.boot.memory_map import memory_map
from ringlet.boot.modules import module_addresses
from ringlet.errors import ConfigError
from ringlet.kvm.memory import GuestMemory

MAGIC = 0x336EC578
VERSION = 1

# hvm_start_info: magic, version, flags, nr_modules, modlist_paddr, cmdline_paddr, rsdp_paddr,
# memmap_paddr, memmap_entries, reserved
START = Struct("<4I4Q2I")
MEMORY_MAP_ENTRY = Struct("<2Q2I")  # hvm_memmap_table_entry: addr, size, type, reserved
MODULE = Struct("<4Q")  # hvm_modlist_entry: paddr, size, cmdline_paddr, reserved


def write_start_info(
    memory: GuestMemory,
    segments: Sequence[ProgramHeader],
    command_line: bytes,
    modules: Sequence[tuple[Image, bytes]],
) -> None:
    """Write it at `START_INFO`, and load the modules, each with its command line.

    `segments` are the kernel's, in the order of their addresses. Raises `ConfigError` where
    something doesn't fit.
    """
    lines = [command_line, *(line for _, line in modules)]
    line_addresses = command_line_addresses(lines)
    ranges = memory_map(memory)
    memory_map_address = START_INFO + START.size
    module_list_address = memory_map_address + len(ranges) * MEMORY_MAP_ENTRY.size
    most = (START_INFO + START_INFO_SIZE - module_list_address) // MODULE.size
    if len(modules) > most:
        raise ConfigError(
            f"{len(modules)} modules are too many, {most} fit", "put them into one archive"
        )
    kernel = [(segment.address, segment.end) for segment in segments]
    addresses = module_addresses(memory, kernel, [image for image, _ in modules])

    info = START.pack(
        MAGIC,
        VERSION,
        0,
        len(modules),
        module_list_address if modules else 0,
        line_addresses[0],
        RSDP if memory.regions[0].size >= HIGH_MEMORY else 0,
        memory_map_address,
        len(ranges),
        0,
    )
    info += b"".join(MEMORY_MAP_ENTRY.pack(*entry, 0) for entry in ranges)
    for (image, _), address, line in zip(modules, addresses, line_addresses[1:], strict=True):
        info += MODULE.pack(address, image.size, line, 0)
        image.load(memory, 0, address, image.size)
    memory.write(START_INFO, info)
    memory.write(COMMAND_LINE, b"".join(line + b"\0" for line in lines))
