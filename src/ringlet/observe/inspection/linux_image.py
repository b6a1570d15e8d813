"""What a Linux kernel's image says: its version, its setup header, and its payload.

Source: Linux, Documentation/arch/x86/boot.rst ("Details of Header Fields").
"""

from __future__ import annotations

from struct import unpack_from

import msgspec

from ringlet.boot.bzimage import SETUP_HEADER
from ringlet.boot.decompress import decompressed_size
from ringlet.errors import ImageError
from ringlet.host.decoders import find as find_decoder
from ringlet.host.printable import printable
from ringlet.observe.inspection.kernel_config import ConfigFacts, find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.boot import Image, Kernel
    from ringlet.boot.bzimage import BzImage

# Offsets of fields in the setup header that a loader doesn't need.
_VERSION = 0x206 - SETUP_HEADER
_KERNEL_VERSION = 0x20E  # in the file, as is what it points to
_KERNEL_VERSION_BASE = 0x200
_ALIGNMENT = 0x230 - SETUP_HEADER  # then relocatable_kernel, min_alignment, xloadflags

# The first version of the boot protocol that has a field.
_HAS_RELOCATABLE = 0x205
_HAS_XLOADFLAGS = 0x20C

_XLOADFLAGS = (
    "XLF_KERNEL_64",
    "XLF_CAN_BE_LOADED_ABOVE_4G",
    "XLF_EFI_HANDOVER_32",
    "XLF_EFI_HANDOVER_64",
    "XLF_EFI_KEXEC",
    "XLF_5LEVEL",
    "XLF_5LEVEL_ENABLED",
    "XLF_MEM_ENCRYPTION",
)
_BANNER = b"Linux version "
_LINE = 256  # bytes of a version string


class Payload(msgspec.Struct, frozen=True):
    """A bzImage's payload.

    compression   its format
    size          bytes in the file
    becomes       bytes that it becomes, as it says itself
    error         why the host can't decompress it, so that the guest has to; None if it can
    """

    compression: str
    size: int
    becomes: int
    error: str | None


class Header(msgspec.Struct, frozen=True):
    """A bzImage's setup header; addresses are physical."""

    boot_protocol: str
    xloadflags: list[str]
    relocatable: bool
    alignment: int
    pref_address: int
    init_size: int
    entry: int
    entry_bits: int
    command_line_size: int
    initrd_limit: int
    payload: Payload


class LinuxFacts(msgspec.Struct, frozen=True):
    """What is known of a Linux kernel; `header` is None for a vmlinux."""

    version: str
    header: Header | None
    config: ConfigFacts


def version_of(kernel: Kernel) -> str:
    """Returns the version of a vmlinux, the kernel's own text; empty if there is none."""
    at = find(kernel, _BANNER)
    if at is None:
        return ""
    line = kernel.image.read(at, min(_LINE, kernel.image.size - at)).removeprefix(_BANNER)
    return printable(line.partition(b"\0")[0].partition(b"\n")[0], _LINE)


def header_version(image: Image) -> str:
    """Returns the version that a bzImage's setup header points to; empty if there is none."""
    at = int.from_bytes(image.read(_KERNEL_VERSION, 2), "little") + _KERNEL_VERSION_BASE
    if at == _KERNEL_VERSION_BASE or at >= image.size:
        return ""
    line = image.read(at, min(_LINE, image.size - at))
    return printable(line.partition(b"\0")[0], _LINE)


def header_facts(image: Image, bz: BzImage, error: str | None) -> Header:
    """Returns what a setup header says; `error` is why the host can't decompress the payload."""
    data = bz.setup_header.ljust(0x80, b"\0")
    (version,) = unpack_from("<H", data, _VERSION)
    alignment, relocatable, _, flags = unpack_from("<I2BH", data, _ALIGNMENT)
    if version < _HAS_XLOADFLAGS:
        flags = 0
    names = [name for bit, name in enumerate(_XLOADFLAGS) if flags >> bit & 1]
    if rest := flags >> len(_XLOADFLAGS) << len(_XLOADFLAGS):
        names.append(f"{rest:#x}")
    start = image.read(bz.payload_offset, min(bz.payload_size, 8))
    try:
        becomes = decompressed_size(image, bz.payload_offset, bz.payload_size)
    except ImageError:  # there is no payload
        becomes = 0
    return Header(
        boot_protocol=f"{version >> 8}.{version & 0xFF:02}",
        xloadflags=names,
        relocatable=version >= _HAS_RELOCATABLE and relocatable != 0,
        alignment=alignment if version >= _HAS_RELOCATABLE else 0,
        pref_address=bz.load_address,
        init_size=bz.init_size,
        entry=bz.entry,
        entry_bits=bz.bits,
        command_line_size=bz.command_line_size,
        initrd_limit=bz.initrd_limit,
        payload=Payload(find_decoder(start)[0], bz.payload_size, becomes, error),
    )
