"""Which boot protocol an image speaks, and what it is if none."""

from ringlet.boot import elf, pvh
from ringlet.boot.image import Image
from ringlet.errors import ImageError

_BOOT_SIGNATURE = 510, b"\x55\xaa"
_BZIMAGE = 0x202, b"HdrS"  # Linux, Documentation/arch/x86/boot.rst
_HEAD_SIZE = 0x206

_LINUX_NOTE = b"Linux\0"  # owner of a vmlinux's own notes (linux/elfnote-lto.h, build-salt.h)

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
    if _has_multiboot_header(image):
        return "multiboot"
    if _has(head, *_BZIMAGE):  # before flat: it has a boot signature, too
        return "linux"
    if image.name.endswith(".bin") or _has(head, *_BOOT_SIGNATURE):
        return "flat"
    raise _unknown(image, head)


def _has(head: bytes, offset: int, magic: bytes) -> bool:
    return head[offset : offset + len(magic)] == magic


def _has_multiboot_header(image: Image) -> bool:
    from ringlet.boot import multiboot  # few images get here

    return multiboot.find_header(image) is not None


def _detect_elf(image: Image) -> str:
    executable = elf.parse(image)
    if executable.bits == 64 and any(
        name == _LINUX_NOTE for name, _, _ in elf.notes(image, executable)
    ):
        return "linux"
    if pvh.entry_point(image, executable) is not None:
        return "pvh"
    if _has_multiboot_header(image):
        return "multiboot"
    if executable.bits == 64:
        return "elf64"
    raise ImageError(
        f"{image.name} is a 32-bit ELF with no PVH note and no Multiboot header",
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
