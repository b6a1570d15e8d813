"""Which boot protocol an image speaks, and what it is if none."""

from ringlet.boot import elf, pvh
from ringlet.boot.image import Image
from ringlet.errors import ImageError

_BOOT_SIGNATURE = 510, b"\x55\xaa"
_BZIMAGE = 0x202, b"HdrS"  # Linux, Documentation/arch/x86/boot.rst
_HEAD_SIZE = 0x206

_MULTIBOOT_MAGIC = 0x1BADB002.to_bytes(4, "little")
_MULTIBOOT_SEARCH = 8192  # Multiboot specification 0.6.96, 3.1: there, 4-byte aligned

_FORMATS = (
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"\xfd7zXZ\0", "xz-compressed data"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (b"BZh", "bzip2-compressed data"),
    (b"070701", "a cpio archive"),
    (b"QFI\xfb", "a qcow2 disk image"),
    (b"MZ", "a DOS, Windows or EFI program"),
)
_CONTROL_CHARACTERS = set(range(32)) - set(b"\t\n\f\r")


def detect(image: Image) -> str:
    """The name of the protocol, by the image's own bytes and, for `.bin`, its name.

    Raises `ImageError` for an image that speaks none: an unknown file isn't code to run.
    """
    head = image.read(0, min(image.size, _HEAD_SIZE))
    if head.startswith(elf.MAGIC):
        return _detect_elf(image)
    if _has(head, *_BZIMAGE):  # first: it has a boot signature, too
        raise ImageError(
            f"{image.name} is a Linux bzImage, which ringlet can't boot yet",
            "boot its vmlinux; Linux's scripts/extract-vmlinux takes it out",
        )
    if image.name.endswith(".bin") or _has(head, *_BOOT_SIGNATURE):
        return "flat"
    raise _unknown(image, head)


def _has(head: bytes, offset: int, magic: bytes) -> bool:
    return head[offset : offset + len(magic)] == magic


def _detect_elf(image: Image) -> str:
    executable = elf.parse(image)
    if pvh.entry_point(image, executable) is not None:
        return "pvh"
    if executable.bits == 64:
        return "elf64"
    start = image.read(0, min(image.size, _MULTIBOOT_SEARCH))
    found = any(_has(start, offset, _MULTIBOOT_MAGIC) for offset in range(0, len(start), 4))
    raise ImageError(
        f"{image.name} is a 32-bit ELF with no PVH note"
        + (", but a Multiboot header, which ringlet can't boot yet" if found else ""),
        "give it a PVH note (XEN_ELFNOTE_PHYS32_ENTRY), or build it as a 64-bit ELF",
    )


def _unknown(image: Image, head: bytes) -> ImageError:
    text = not any(byte in _CONTROL_CHARACTERS for byte in head)
    what = "text" if text else "nothing that ringlet can boot"
    what = next((name for magic, name in _FORMATS if head.startswith(magic)), what)
    return ImageError(
        f"{image.name} is no kernel: it looks like {what}",
        "name an ELF; 16-bit code wants a name in .bin, or --protocol flat",
    )
