"""The Multiboot information, which ringlet gives to a Multiboot kernel.

After the struct multiboot_info come the memory map, the loader's name and the module list. The
strings of the kernel and its modules lie in a page of their own. Source: Multiboot specification
0.6.96, 3.3 (boot information format).

A string is the image's name, a space, and the command line that the user wrote. By the
specification, the user writes the name, too, and GRUB 2 adds no name. But kernels are written for
GRUB Legacy, QEMU, iPXE and SYSLINUX, which all put the name first. NetBSD, Xen (unless the loader
is GRUB) and kvm-unit-tests take the first word for the name, and kernels tell modules apart by
their names. The string has the name of the file only: the guest must not learn the host's
directories.
"""

from __future__ import annotations

import os
from struct import Struct

from ringlet.board.layout import (
    BOOT_DATA_END,
    COMMAND_LINE,
    HIGH_MEMORY,
    KIB,
    LOW_RAM_END,
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

_HAS_MEMORY = 1 << 0
_HAS_COMMAND_LINE = 1 << 2
_HAS_MODULES = 1 << 3
_HAS_MEMORY_MAP = 1 << 6
_HAS_LOADER_NAME = 1 << 9

# flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, (syms), mmap_length,
# mmap_addr, (drives, config_table), boot_loader_name, (apm_table, vbe, framebuffer)
INFO = Struct("<7I16x2I12xI48x")
MEMORY_MAP_ENTRY = Struct("<I2QI")  # size of what follows, base_addr, length, type
MODULE = Struct("<4I")  # mod_start, mod_end, string, reserved

_LOADER_NAME = b"ringlet\0"


def write_multiboot_info(
    memory: GuestMemory,
    places: Sequence[tuple[int, int]],
    kernel: tuple[Image, bytes],
    modules: Sequence[tuple[Image, bytes]],
    offset: int = 0,
) -> None:
    """Writes the Multiboot information at `START_INFO`, and loads the modules, page-aligned.

    Each image comes with its command line. `places` lists the ranges that the kernel takes, in
    ascending order. `offset` is how far the boot data moves up to leave room for the kernel.
    Raises `ConfigError` for too many modules, and for strings or modules that don't fit.
    """
    strings = [_string(image, line) for image, line in (kernel, *modules)]
    string_addresses = command_line_addresses(strings, COMMAND_LINE + offset)
    ranges = memory_map(memory)
    start = START_INFO + offset
    memory_map_address = start + INFO.size
    memory_map_size = len(ranges) * MEMORY_MAP_ENTRY.size
    name_address = memory_map_address + memory_map_size
    module_list_address = name_address + len(_LOADER_NAME)
    most = (start + START_INFO_SIZE - module_list_address) // MODULE.size
    if len(modules) > most:
        raise ConfigError(
            f"{len(modules)} modules are too many, {most} fit", "put them into one archive"
        )
    taken = sorted([*places, (offset, offset + BOOT_DATA_END)])
    addresses = module_addresses(memory, taken, [image for image, _ in modules])

    low = memory.regions[0].size
    info = INFO.pack(
        _HAS_MEMORY | _HAS_COMMAND_LINE | _HAS_MODULES | _HAS_MEMORY_MAP | _HAS_LOADER_NAME,
        min(low, LOW_RAM_END) // KIB,
        max(0, low - HIGH_MEMORY) // KIB,
        0,
        string_addresses[0],
        len(modules),
        module_list_address,
        memory_map_size,
        memory_map_address,
        name_address,
    )
    rest = MEMORY_MAP_ENTRY.size - 4  # an entry's first field isn't counted
    info += b"".join(MEMORY_MAP_ENTRY.pack(rest, *entry) for entry in ranges)
    info += _LOADER_NAME
    for (image, _), address, string in zip(modules, addresses, string_addresses[1:], strict=True):
        info += MODULE.pack(address, address + image.size, string, 0)
        image.load(memory, 0, address, image.size)
    memory.write(start, info)
    memory.write(COMMAND_LINE + offset, b"".join(string + b"\0" for string in strings))


def _string(image: Image, line: bytes) -> bytes:
    name = os.path.basename(image.name).replace(" ", "_")  # the name must be one word
    return os.fsencode(name) + (b" " + line if line else b"")
