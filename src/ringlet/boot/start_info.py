"""The start info, which ringlet gives to a PVH guest and to a 64-bit ELF guest.

The start info is a struct hvm_start_info, version 1; the memory map and the module list follow it.
The command lines lie in a page of their own. Source: Xen, public/arch-x86/hvm/start_info.h.
"""

from __future__ import annotations

from struct import Struct

from ringlet.board.layout import (
    BOOT_DATA_END,
    COMMAND_LINE,
    HIGH_MEMORY,
    RSDP,
    START_INFO,
    START_INFO_SIZE,
)
from ringlet.boot.command_lines import command_line_addresses
from ringlet.boot.memory_map import memory_map
from ringlet.boot.modules import module_addresses
from ringlet.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringlet.boot.image import Image
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
    kernel: Sequence[tuple[int, int]],
    command_line: bytes,
    modules: Sequence[tuple[Image, bytes]],
    offset: int = 0,
) -> None:
    """Writes the start info at `START_INFO`, and loads the modules, page-aligned.

    Each module comes with its command line. `kernel` lists the ranges that the kernel takes, in
    ascending order. `offset` is how far the boot data moves up to leave room for the kernel.
    Raises `ConfigError` for too many modules, and for command lines or modules that don't fit.
    """
    lines = [command_line, *(line for _, line in modules)]
    line_addresses = command_line_addresses(lines, COMMAND_LINE + offset)
    ranges = memory_map(memory)
    start = START_INFO + offset
    memory_map_address = start + START.size
    module_list_address = memory_map_address + len(ranges) * MEMORY_MAP_ENTRY.size
    most = (start + START_INFO_SIZE - module_list_address) // MODULE.size
    if len(modules) > most:
        raise ConfigError(
            f"{len(modules)} modules are too many, {most} fit", "put them into one archive"
        )
    taken = sorted([*kernel, (offset, offset + BOOT_DATA_END)])
    addresses = module_addresses(memory, taken, [image for image, _ in modules])

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
    memory.write(start, info)
    memory.write(COMMAND_LINE + offset, b"".join(line + b"\0" for line in lines))
