"""The zero page, struct boot_params, which a loader gives to a Linux kernel.

Source: Linux, Documentation/arch/x86/zero-page.rst, boot.rst ("Details of Header Fields"), and
arch/x86/include/uapi/asm/{bootparam.h,setup_data.h}.
"""

from __future__ import annotations

import os
from struct import Struct, pack_into

from ringlet.board.layout import COMMAND_LINE, RSDP, SETUP_DATA, ZERO_PAGE
from ringlet.boot.bzimage import SETUP_HEADER
from ringlet.boot.memory_map import memory_map
from ringlet.kvm.memory import PAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.kvm.memory import GuestMemory

# Offsets in the zero page, including the fields of the setup header.
_ACPI_RSDP_ADDR = 0x070
_E820_ENTRIES = 0x1E8
_BOOT_FLAG = 0x1FE
_MAGIC = 0x202
_VERSION = 0x206
_TYPE_OF_LOADER = 0x210
_LOADFLAGS = 0x211
_RAMDISK = 0x218  # ramdisk_image, ramdisk_size
_CMD_LINE_PTR = 0x228
_KERNEL_ALIGNMENT = 0x230
_SETUP_DATA = 0x250
_E820_TABLE = 0x2D0

_E820_ENTRY = Struct("<2QI")  # struct boot_e820_entry: address, size, type
_SETUP_DATA_HEADER = Struct("<Q2I")  # struct setup_data: next, type, length

_UNKNOWN_LOADER = 0xFF
_LOADED_HIGH = 1
_SETUP_RNG_SEED = 9
_SEED_SIZE = 32  # bytes, as much as the kernel's generator takes


def setup_header() -> bytes:
    """Returns a setup header for a vmlinux, which has no setup header of its own."""
    page = bytearray(PAGE)
    pack_into("<H", page, _BOOT_FLAG, 0xAA55)
    pack_into("<4sH", page, _MAGIC, b"HdrS", 0x20C)
    pack_into("<B", page, _LOADFLAGS, _LOADED_HIGH)
    pack_into("<I", page, _KERNEL_ALIGNMENT, 0x100_0000)
    return bytes(page[SETUP_HEADER:_E820_TABLE].rstrip(b"\0"))


def write_zero_page(
    memory: GuestMemory, header: bytes, command_line: bytes, initrd: tuple[int, int]
) -> None:
    """Writes the zero page, the command line, and a seed for the kernel's random numbers.

    `header` is the kernel's setup header. `initrd` is the address and the size of the initrd, both
    0 if there is no initrd.
    """
    page = bytearray(PAGE)
    page[SETUP_HEADER : SETUP_HEADER + len(header)] = header
    ranges = memory_map(memory)
    pack_into("<Q", page, _ACPI_RSDP_ADDR, RSDP)
    pack_into("<B", page, _E820_ENTRIES, len(ranges))
    pack_into("<B", page, _TYPE_OF_LOADER, _UNKNOWN_LOADER)
    pack_into("<2I", page, _RAMDISK, *initrd)
    pack_into("<I", page, _CMD_LINE_PTR, COMMAND_LINE)
    pack_into("<Q", page, _SETUP_DATA, SETUP_DATA)
    for index, entry in enumerate(ranges):
        _E820_ENTRY.pack_into(page, _E820_TABLE + index * _E820_ENTRY.size, *entry)
    memory.write(ZERO_PAGE, bytes(page))
    memory.write(COMMAND_LINE, command_line + b"\0")
    seed = _SETUP_DATA_HEADER.pack(0, _SETUP_RNG_SEED, _SEED_SIZE) + os.urandom(_SEED_SIZE)
    memory.write(SETUP_DATA, seed)
