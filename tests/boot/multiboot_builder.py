"""Builds Multiboot headers and kernels, and reads the Multiboot information as a kernel would."""

from collections.abc import Sequence
from struct import pack
from typing import NamedTuple

from ringlet.board import layout
from ringlet.boot import Entry, Image, open_kernel
from ringlet.kvm.memory import GuestMemory

from .guest import number, string

MAGIC = 0x1BADB002
ADDRESSES = 1 << 16


def header(flags: int = 0, *addresses: int, checksum: int | None = None) -> bytes:
    """A header; `addresses` are the five address fields, whose flag isn't set by itself."""
    if checksum is None:
        checksum = -(MAGIC + flags) & 0xFFFFFFFF
    return pack(f"<{3 + len(addresses)}I", MAGIC, flags, checksum, *addresses)


def flat(
    *,
    at: int = 0x40,
    size: int = 0x100,
    header_addr: int = 0x100040,
    load_addr: int = 0x100000,
    load_end_addr: int = 0,
    bss_end_addr: int = 0,
    entry_addr: int = 0x100060,
) -> bytes:
    """A file of `size` bytes that is no ELF, with address fields in its header `at` an offset."""
    fields = (header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr)
    start = b"\xcc" * at + header(ADDRESSES, *fields)
    return start + bytes(index % 255 + 1 for index in range(size - len(start)))


class Information(NamedTuple):
    """What a kernel reads, at the offsets of the specification's 3.3."""

    flags: int
    mem_lower: int
    mem_upper: int
    boot_device: int
    command_line: bytes
    modules: list[tuple[int, int, bytes]]  # mod_start, mod_end, string
    memory_map: list[tuple[int, int, int]]  # base_addr, length, type
    loader: bytes


def read_information(memory: GuestMemory, at: int = layout.START_INFO) -> Information:
    """The Multiboot information, the tables it points to, and their strings."""
    modules = []
    for index in range(number(memory, at + 20, 4)):
        entry = number(memory, at + 24, 4) + 16 * index
        assert number(memory, entry + 12, 4) == 0
        start, end, text = (number(memory, entry + offset, 4) for offset in (0, 4, 8))
        modules.append((start, end, string(memory, text)))
    memory_map = []
    entry = number(memory, at + 48, 4)
    end = entry + number(memory, at + 44, 4)
    while entry < end:
        memory_map.append(
            (
                number(memory, entry + 4, 8),
                number(memory, entry + 12, 8),
                number(memory, entry + 20, 4),
            )
        )
        entry += number(memory, entry, 4) + 4
    assert entry == end
    return Information(
        number(memory, at, 4),
        number(memory, at + 4, 4),
        number(memory, at + 8, 4),
        number(memory, at + 12, 4),
        string(memory, number(memory, at + 16, 4)),
        modules,
        memory_map,
        string(memory, number(memory, at + 64, 4)),
    )


def boot(
    image: bytes | bytearray,
    memory: GuestMemory,
    command_line: bytes = b"",
    modules: Sequence[tuple[Image, bytes]] = (),
) -> Entry:
    """Loads the kernel into the memory."""
    with open_kernel(bytes(image), "multiboot") as kernel:
        return kernel.load(memory, command_line=command_line, modules=modules)
