"""The bzImage and its setup header: a compressed Linux kernel with its own decompressor.

Source: Linux, Documentation/arch/x86/boot.rst ("The Real-Mode Kernel Header", "Details of
Header Fields", "32-bit Boot Protocol" and "64-bit Boot Protocol"). This file reads the header
once and checks it. Other programs than Linux are bzImages, too, for example memtest86+.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from ringlet.board.layout import HIGH_MEMORY, MMIO_HOLE
from ringlet.errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.boot.image import Image

SETUP_HEADER = 0x1F1  # offset of the setup header, in the image and in the zero page
SETUP_HEADER_END = 0x290  # the zero page has no room beyond
_JUMP = 0x201  # the jump's displacement; _JUMP_END plus the displacement is the header's end
_JUMP_END = 0x202

# setup_sects, syssize, boot_flag, header, version, loadflags, code32_start, initrd_addr_max,
# kernel_alignment, xloadflags, cmdline_size, payload_offset, payload_length, pref_address,
# init_size
_FIELDS = Struct("<B 2x I 6x H 2x 4s H 9x B 2x I 20x I I 2x H I 12x 2I 8x Q I")
_OLD_HEADER_END = 0x22C  # the header's end in the first version that ringlet supports

_SECTOR = 512
_PARAGRAPH = 16
_DEFAULT_SETUP_SECTORS = 4
_BOOT_FLAG = 0xAA55
_MAGIC = b"HdrS"
_VERSION = 0x202  # the first version with cmd_line_ptr
_HAS_INITRD_ADDR_MAX = 0x203  # here and below: the first version that has this field
_HAS_CMDLINE_SIZE = 0x206
_HAS_PAYLOAD = 0x208
_HAS_PREF_ADDRESS = 0x20A
_HAS_XLOADFLAGS = 0x20C
_LOADED_HIGH = 1
_XLF_KERNEL_64 = 1
_OLD_INITRD_ADDR_MAX = 0x37FF_FFFF
_OLD_CMDLINE_SIZE = 255
_ENTRY_64 = 0x200  # the 64-bit entry point, from the start of the protected-mode code


class BzImage(NamedTuple):
    """The values that a loader needs from a bzImage; offsets count from the start of the file."""

    setup_header: bytes
    offset: int  # of the protected-mode code
    size: int
    payload_offset: int  # of the compressed kernel, which is in the protected-mode code
    payload_size: int
    load_address: int
    init_size: int  # how many bytes the kernel needs to start, from the load address on
    command_line_size: int  # without the NUL
    initrd_limit: int  # one past the last address that an initrd may take
    bits: int  # 64 for a kernel that can be entered in long mode, else 32

    @property
    def end(self) -> int:
        """One past the last address that the kernel needs to start."""
        return self.load_address + self.init_size

    @property
    def entry(self) -> int:
        """The address of the 64-bit entry point if `bits` is 64, else of the 32-bit entry point."""
        return self.load_address + (_ENTRY_64 if self.bits == 64 else 0)


def parse(image: Image) -> BzImage:
    """Reads the setup header of a bzImage.

    Raises `ImageError` for an image that isn't a bzImage, and for a header that contradicts itself
    or the file.
    """
    head = image.read(0, min(image.size, SETUP_HEADER_END))
    if head[_JUMP_END : _JUMP_END + len(_MAGIC)] != _MAGIC:
        raise ImageError(
            f"{image.name} is not a Linux kernel", "choose another --protocol, or none"
        )
    image.require(0, SETUP_HEADER_END)
    # fmt: off
    (
        sectors, paragraphs, boot_flag, _, version, flags, code32_start, initrd_max, alignment,
        more_flags, command_line_size, payload, payload_size, address, init_size,
    ) = _FIELDS.unpack_from(head, SETUP_HEADER)
    # fmt: on
    if version < _VERSION:
        raise ImageError(
            f"{image.name} speaks version {version >> 8}.{version & 0xFF:02} of Linux's boot "
            f"protocol, ringlet {_VERSION >> 8}.{_VERSION & 0xFF:02} and later",
            "use Linux 2.4 or later",
        )
    bits = 64 if version >= _HAS_XLOADFLAGS and more_flags & _XLF_KERNEL_64 else 32
    if bits == 32 and code32_start == 0:
        raise ImageError(
            f"{image.name} can be entered in 16-bit mode alone, to call a PC's firmware, "
            "which ringlet's machine doesn't have",
            "boot it with QEMU: qemu-system-x86_64 -kernel",
        )
    offset = ((sectors or _DEFAULT_SETUP_SECTORS) + 1) * _SECTOR
    size = paragraphs * _PARAGRAPH
    if 0 < offset + size - image.size < _PARAGRAPH:  # the header rounds up; the rest is zero
        size = image.size - offset
    header_end = _JUMP_END + head[_JUMP]
    least_end = _OLD_HEADER_END
    if version < _HAS_INITRD_ADDR_MAX:
        initrd_max = _OLD_INITRD_ADDR_MAX
    if version < _HAS_CMDLINE_SIZE:
        command_line_size = _OLD_CMDLINE_SIZE
    if version < _HAS_PAYLOAD:
        payload = payload_size = 0
    if version < _HAS_PREF_ADDRESS:
        address, init_size, alignment = code32_start, size, 1
    else:
        least_end = SETUP_HEADER + _FIELDS.size
    end = address + init_size
    for holds, what in (
        (boot_flag == _BOOT_FLAG, f"its boot flag is {boot_flag:#x}"),
        (flags & _LOADED_HIGH, "it is to be loaded below 1 MiB"),
        (
            least_end <= header_end <= SETUP_HEADER_END,
            f"its setup header ends at {header_end:#x}",
        ),
        (size > (_ENTRY_64 if bits == 64 else 0), f"its code has {size:#x} bytes"),
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
        bits,
    )
