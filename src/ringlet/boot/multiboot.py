"""Multiboot 1: a boot protocol of GRUB and `qemu -kernel`, with a header near the kernel's start.

Source: Multiboot specification 0.6.96: 3.1 (OS image format), 3.2 (machine state). The kernel
starts in protected mode without paging and with interrupts off. EAX is a magic number, and EBX is
the address of the Multiboot information. The kernel brings its own stack, GDT and IDT.

If the header has address fields, these fields say how to load the file, even if the file is an ELF.
If the header has none, the file must be a 32-bit ELF: the specification allows no other format, and
QEMU accepts no other (GRUB 2 does). An ELF of type ET_DYN is loaded at the addresses in its program
headers, too. memtest86+ 5 is such a kernel, and relocates itself.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from ringlet.board.layout import START_INFO
from ringlet.boot import elf
from ringlet.boot.boot_data import place_boot_data
from ringlet.boot.entry import Entry
from ringlet.boot.kernel import Kernel
from ringlet.boot.multiboot_info import write_multiboot_info
from ringlet.boot.protected_mode import PROTECTED_MODE
from ringlet.errors import ImageError
from ringlet.kvm.registers import Registers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.boot.image import Image
    from ringlet.boot.kernel import Given
    from ringlet.kvm.memory import GuestMemory

_HEADER_MAGIC = 0x1BADB002.to_bytes(4, "little")
_LOADER_MAGIC = 0x2BADB002  # in EAX
_SEARCH = 8192  # the header lies within these first bytes, 4-byte aligned
SIGN = f"a Multiboot header in the first {_SEARCH} bytes"

_HEADER = Struct("<3I")  # magic, flags, checksum
_ADDRESSES = Struct("<5I")

# Bits of flags. The lower 16 bits are requirements. A loader that can't meet one of them must not
# boot the kernel.
_REQUIREMENTS = 0xFFFF
_PAGE_ALIGNED_MODULES = 1 << 0
_MEMORY_INFORMATION = 1 << 1
_VIDEO_MODE = 1 << 2
_HAS_ADDRESSES = 1 << 16


class Addresses(NamedTuple):
    """The address fields of a header: physical addresses, for a file that needn't be an ELF."""

    header_addr: int
    load_addr: int
    load_end_addr: int  # 0: to the end of the file
    bss_end_addr: int  # 0: no bss
    entry_addr: int


class Header(NamedTuple):
    """A Multiboot header and its offset in the image."""

    offset: int
    flags: int
    addresses: Addresses | None


def find_header(image: Image) -> Header | None:
    """Returns the image's Multiboot header, or None if the image has no header.

    Raises `ImageError` for a header that ends beyond the image, or beyond the first 8192 bytes.
    """
    start = image.read(0, min(image.size, _SEARCH))
    offset = start.find(_HEADER_MAGIC)
    while offset >= 0 and not _is_header(start, offset):
        offset = start.find(_HEADER_MAGIC, offset + 1)
    if offset < 0:
        return None
    _, flags, _ = _HEADER.unpack_from(start, offset)
    if not flags & _HAS_ADDRESSES:
        return Header(offset, flags, None)
    if offset + _HEADER.size + _ADDRESSES.size > len(start):
        raise _inconsistent(image, f"it is cut short, at {offset:#x} of {len(start):#x} bytes")
    fields = _ADDRESSES.unpack_from(start, offset + _HEADER.size)
    return Header(offset, flags, Addresses._make(fields))


def _is_header(start: bytes, offset: int) -> bool:
    if offset % 4 or offset + _HEADER.size > len(start):
        return False
    magic, flags, checksum = _HEADER.unpack_from(start, offset)
    return bool((magic + flags + checksum) & 0xFFFF_FFFF == 0)


def _inconsistent(image: Image, what: str) -> ImageError:
    return ImageError(
        f"{image.name} has no sound Multiboot header: {what}",
        "look at the Multiboot specification, 3.1 (OS image format)",
    )


class MultibootKernel(Kernel):
    """A file with a Multiboot header; `executable` has the ELF headers if the file is an ELF."""

    protocol = "multiboot"
    expects_pit = True

    def __init__(
        self, image: Image, header: Header | None, executable: elf.Elf | None = None
    ) -> None:
        super().__init__(image)
        if header is None:
            raise ImageError(
                f"{image.name} has no Multiboot header in its first {_SEARCH} bytes",
                "build it with one, or choose another --protocol",
            )
        _check_requirements(image, header.flags)
        if header.addresses:
            self.executable = _from_addresses(image, header.offset, header.addresses)
        else:
            self.executable = _from_elf(image, executable or elf.parse(image, dynamic=True))

    def _load(self, memory: GuestMemory, given: Given) -> Entry:
        image, executable = self.image, self.executable
        elf.check_segments(image, executable, memory, executable.entry)
        kernel = (image, given.command_line)
        offset = place_boot_data(memory, executable.places)
        write_multiboot_info(memory, executable.places, kernel, given.modules, offset)
        elf.load_segments(image, executable, memory)
        registers = Registers(rax=_LOADER_MAGIC, rbx=START_INFO + offset, rip=executable.entry)
        return Entry(registers, PROTECTED_MODE)


def _check_requirements(image: Image, flags: int) -> None:
    if flags & _VIDEO_MODE:
        raise ImageError(
            f"{image.name} requires a video mode, and the machine has no display",
            "build it without bit 2 of the flags in its Multiboot header",
        )
    unknown = flags & _REQUIREMENTS & ~(_PAGE_ALIGNED_MODULES | _MEMORY_INFORMATION)
    if unknown:
        raise ImageError(
            f"{image.name} requires what Multiboot 0.6.96 doesn't have: flags {unknown:#x}",
            "build it without them: bits 3 to 15 of the flags in its Multiboot header are zero",
        )


def _from_addresses(image: Image, offset: int, addresses: Addresses) -> elf.Elf:
    """Returns the file as one segment; `elf.check_segments` checks its place in memory later."""
    header, load, load_end, bss_end, entry = addresses
    start = offset - (header - load)
    if load > header:
        raise _inconsistent(image, f"load_addr {load:#x} is beyond header_addr {header:#x}")
    if start < 0:
        raise _inconsistent(
            image, f"load_addr {load:#x} is more than {offset:#x} bytes before header_addr"
        )
    end = load_end or load + image.size - start
    bss_end = bss_end or end
    if not load < end <= bss_end:
        raise _inconsistent(
            image, f"load_addr, load_end_addr, bss_end_addr are {load:#x}, {end:#x}, {bss_end:#x}"
        )
    if not load <= entry < bss_end:
        raise _inconsistent(image, f"entry_addr {entry:#x} is not within {load:#x} to {bss_end:#x}")
    return elf.Elf(32, entry, [elf.ProgramHeader(start, load, end - load, bss_end - load, 4)], [])


def _from_elf(image: Image, executable: elf.Elf) -> elf.Elf:
    if executable.bits != 32:
        raise ImageError(
            f"{image.name} is a 64-bit ELF; Multiboot takes one only by address fields",
            "make a 32-bit ELF of it: objcopy -O elf32-i386",
        )
    if executable.is_dynamic and any(segment.address == 0 for segment in executable.segments):
        raise elf.position_independent(image)
    # The specification doesn't say whether the entry point is a physical or a virtual address.
    # Ringlet does as GRUB does, because kernels that are linked to the upper half rely on that.
    entry = executable.entry
    for segment in executable.segments:
        if segment.virtual <= entry < segment.virtual + segment.memory_size:
            entry = entry - segment.virtual + segment.address
            break
    return elf.Elf(32, entry, executable.segments, executable.notes)
