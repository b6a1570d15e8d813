"""The bzImage: a Linux kernel that brings its own decompressor, and the setup header in it.

Source: Linux, Documentation/arch/x86/boot.rst ("The Real-Mode Kernel Header", "Details of
Header Fields" and "64-bit Boot Protocol"). The header is read once and judged here.
"""

from struct import Struct
from typing import NamedTuple

from ringlet.board.layout import HIGH_MEMORY, MMIO_HOLE
from ringlet.boot.image import Image
from ringlet.errors import ImageError

SETUP_HEADER = 0x1F1  # offset of the setup header, in the image and in the zero page
SETUP_HEADER_END = 0x290  # the zero page has no room beyond
_JUMP = 0x201  # its displacement, counted from the next byte on, is where the header ends
_JUMP_END = 0x202

# setup_sects, syssize, boot_flag, header, version, loadflags, initrd_addr_max, kernel_alignment,
# xloadflags, cmdline_size, payload_offset, payload_length, pref_address, init_size
_FIELDS = Struct("<B 2x I 6x H 2x 4s H 9x B 26x I I 2x H I 12x 2I 8x Q I")

_SECTOR = 512
_PARAGRAPH = 16
_DEFAULT_SETUP_SECTORS = 4
_BOOT_FLAG = 0xAA55
_MAGIC = b"HdrS"
_VERSION = 0x20C  # the first with xloadflags
_LOADED_HIGH = 1
_XLF_KERNEL_64 = 1
_ENTRY_64 = 0x200  # the 64-bit entry point, from the start of the protected-mode code


class BzImage(NamedTuple):
    """What a loader needs of a bzImage; offsets count from the start of the file."""

    setup_header: bytes
    offset: int  # of the protected-mode code
    size: int
    payload_offset: int  # of the compressed kernel in that code
    payload_size: int
    load_address: int
    init_size: int  # bytes from the load address on that the kernel needs to start
    command_line_size: int  # without the NUL
    initrd_limit: int  # one past the last address that an initrd may take

    @property
    def end(self) -> int:
        """One past the last address that the kernel needs to start."""
        return self.load_address + self.init_size

    @property
    def entry(self) -> int:
        """The 64-bit entry point."""
        return self.load_address + _ENTRY_64


def parse(image: Image) -> BzImage:
    """Read the setup header of a 64-bit bzImage.

    Raises `ImageError` for what isn't one, or is none that holds together.
    """
    head = image.read(0, min(image.size, SETUP_HEADER_END))
    if head[_JUMP_END : _JUMP_END + len(_MAGIC)] != _MAGIC:
        raise ImageError(
            f"{image.name} is not a Linux kernel", "choose another --protocol, or none"
        )
    image.require(0, SETUP_HEADER_END)
    # fmt: off
    (
        sectors, paragraphs, boot_flag, _, version, flags, initrd_max, alignment,
        more_flags, command_line_size, payload, payload_size, address, init_size,
    ) = _FIELDS.unpack_from(head, SETUP_HEADER)
    # fmt: on
    if version < _VERSION:
        raise ImageError(
            f"{image.name} speaks version {version >> 8}.{version & 0xFF:02} of Linux's boot "
            f"protocol, ringlet {_VERSION >> 8}.{_VERSION & 0xFF} and later",
            "use Linux 3.8 or later",
        )
    if not more_flags & _XLF_KERNEL_64:
        raise ImageError(
            f"{image.name} is a Linux kernel for 32 bits", "use one for x86-64 (CONFIG_64BIT)"
        )
    offset = ((sectors or _DEFAULT_SETUP_SECTORS) + 1) * _SECTOR
    size = paragraphs * _PARAGRAPH
    if 0 < offset + size - image.size < _PARAGRAPH:  # rounded up: what is missing is zero
        size = image.size - offset
    header_end = _JUMP_END + head[_JUMP]
    end = address + init_size
    for holds, what in (
        (boot_flag == _BOOT_FLAG, f"its boot flag is {boot_flag:#x}"),
        (flags & _LOADED_HIGH, "it is to be loaded below 1 MiB"),
        (
            SETUP_HEADER + _FIELDS.size <= header_end <= SETUP_HEADER_END,
            f"its setup header ends at {header_end:#x}",
        ),
        (size > _ENTRY_64, f"its code has {size:#x} bytes"),
        (
            payload + payload_size <= size,
            f"its payload, {payload_size:#x} bytes at {payload:#x}, isn't in its {size:#x} bytes",
        ),
        (
            alignment and not alignment & (alignment - 1) and not address % alignment,
            f"its load address {address:#x} isn't aligned to {alignment:#x}",
        ),
        (
            HIGH_MEMORY <= address < end <= MMIO_HOLE,
            f"it is to lie at {address:#x} to {end:#x}, which is no memory",
        ),
        (size <= init_size, f"its {size:#x} bytes don't fit into the {init_size:#x} it asks for"),
        (command_line_size, "it has no room for a command line"),
    ):
        if not holds:
            raise ImageError(
                f"{image.name} is not a sound bzImage: {what}", "build or download it again"
            )
    image.require(offset, size)
    return BzImage(
        head[SETUP_HEADER:header_end],
        offset,
        size,
        offset + payload,
        payload_size,
        address,
        init_size,
        command_line_size,
        min(initrd_max + 1, MMIO_HOLE),
    )
