"""Builds small bzImages, so that a test can put anything into any field of the setup header."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from struct import pack

import lz4.block
import zstandard

from .elf_builder import Field, Part, build, note, notes

LOAD_ADDRESS = 0x200000
INIT_SIZE = 0x100000
END = LOAD_ADDRESS + INIT_SIZE
SETUP_SECTORS = 1
OFFSET = (SETUP_SECTORS + 1) * 512  # of the protected-mode code
PAYLOAD = 0x2CC  # from there on

LINUX_NOTE = notes(note(b"6.1.0\0", name=b"Linux\0", kind=0x100))
CODE = Part(LOAD_ADDRESS, b"\xf4" * 64, 0x3000, virtual=0xFFFFFFFF_81000000)
VMLINUX = bytes(build(64, [CODE, LINUX_NOTE], entry=LOAD_ADDRESS + 0x10))


def _lz4_legacy(data: bytes) -> bytes:
    frame = b"\x02\x21\x4c\x18"
    for start in range(0, len(data), 8 << 20):
        block = lz4.block.compress(data[start : start + (8 << 20)], store_size=False)
        frame += pack("<I", len(block)) + block
    return frame


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "lz4": _lz4_legacy,
}


def payload(name: str, data: bytes = VMLINUX) -> bytes:
    """`data` as the kernel's build compresses it: with its size behind, which gzip has anyway."""
    size = b"" if name == "gzip" else pack("<I", len(data))
    return COMPRESS[name](data) + size


# The setup header's fields: their offsets and sizes.
FIELDS = {
    "setup_sects": Field(0x1F1, 1),
    "syssize": Field(0x1F4, 4),
    "boot_flag": Field(0x1FE, 2),
    "jump": Field(0x201, 1),
    "header": Field(0x202, 4),
    "version": Field(0x206, 2),
    "type_of_loader": Field(0x210, 1),
    "loadflags": Field(0x211, 1),
    "code32_start": Field(0x214, 4),
    "ramdisk_image": Field(0x218, 4),
    "ramdisk_size": Field(0x21C, 4),
    "cmd_line_ptr": Field(0x228, 4),
    "initrd_addr_max": Field(0x22C, 4),
    "kernel_alignment": Field(0x230, 4),
    "relocatable_kernel": Field(0x234, 1),
    "xloadflags": Field(0x236, 2),
    "cmdline_size": Field(0x238, 4),
    "payload_offset": Field(0x248, 4),
    "payload_length": Field(0x24C, 4),
    "setup_data": Field(0x250, 8),
    "pref_address": Field(0x258, 8),
    "init_size": Field(0x260, 4),
    "kernel_info_offset": Field(0x268, 4),
}


def bzimage(compressed: bytes | None = None, code: bytes = b"", **fields: int) -> bytearray:
    """A bzImage of `code` and a compressed payload; `fields` override what the header says."""
    if compressed is None:
        compressed = payload("gzip")
    code = code.ljust(PAYLOAD, b"\x90") + compressed
    code += bytes(-len(code) % 16)
    values = {
        "setup_sects": SETUP_SECTORS,
        "syssize": len(code) // 16,
        "boot_flag": 0xAA55,
        "jump": 0x6A,
        "header": int.from_bytes(b"HdrS", "little"),
        "version": 0x20F,
        "loadflags": 1,
        "code32_start": 0x100000,
        "initrd_addr_max": 0x7FFFFFFF,
        "kernel_alignment": 0x200000,
        "relocatable_kernel": 1,
        "xloadflags": 0x7F,
        "cmdline_size": 2047,
        "payload_offset": PAYLOAD,
        "payload_length": len(compressed),
        "pref_address": LOAD_ADDRESS,
        "init_size": INIT_SIZE,
        "kernel_info_offset": 0x1234,
    }
    image = bytearray(b"MZ".ljust(OFFSET, b"\0") + code)
    for name, value in (values | fields).items():
        FIELDS[name].put(image, value)
    return image
