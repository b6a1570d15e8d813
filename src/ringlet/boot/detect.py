"""Finds the boot protocol of an image, or says which format an image without a protocol has.

Each function imports only the file of the protocol that it uses, so that a guest starts fast.

Each decision is a `Look`: what the image was searched for, and whether the image has that. So the
reason for a protocol, which `ringlet inspect` shows, is the decision itself.
"""

from __future__ import annotations

from ringlet.boot import elf
from ringlet.errors import ConfigError, ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from ringlet.boot.image import Image
    from ringlet.boot.kernel import Kernel
else:
    from ringlet.host.named_tuple import NamedTuple

PROTOCOLS = ("flat", "linux", "multiboot", "pvh", "elf64")

_BOOT_SIGNATURE = 510, b"\x55\xaa"
_BZIMAGE = 0x202, b"HdrS"  # Linux, Documentation/arch/x86/boot.rst
_HEAD_SIZE = 0x206

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


class Look(NamedTuple):
    """One look at an image.

    protocol   the protocol that the sign stands for, or `elf`, the format of several protocols
    sign       what the image was searched for
    has        whether the image has the sign
    """

    protocol: str
    sign: str
    has: bool


class Looks(list[Look]):
    """The looks at one image, in their order. The last of them decided, if an image has a protocol.

    An image that has the sign of a protocol may still be wrong, and then detection ends there.
    """

    def see(self, protocol: str, sign: str, *, has: bool) -> bool:
        """Notes a look, and returns `has`."""
        self.append(Look(protocol, sign, has))
        return has


def detect(image: Image, looks: Looks | None = None) -> Kernel:
    """Parses the image by the protocol that its bytes show, or that a name in `.bin` shows.

    `looks` gets each look at the image, also if the detection fails. Raises `ImageError` for an
    image that follows no protocol. Ringlet doesn't run an unknown file as code.
    """
    if looks is None:
        looks = Looks()
    head = image.read(0, min(image.size, _HEAD_SIZE))
    if looks.see("elf", "the magic 7F 45 4C 46 at byte 0", has=head.startswith(elf.MAGIC)):
        return _detect_elf(image, looks)
    from ringlet.boot import multiboot  # few images get here

    header = multiboot.find_header(image)
    if looks.see("multiboot", multiboot.SIGN, has=header is not None):
        return multiboot.MultibootKernel(image, header)
    # The magic comes before flat, because a bzImage has a boot signature, too.
    if looks.see("linux", "the magic HdrS at byte 0x202", has=_has(head, *_BZIMAGE)):
        from ringlet.boot import linux

        return linux.BzImageKernel(image)
    if looks.see("flat", "a name that ends in .bin", has=image.name.endswith(".bin")) or looks.see(
        "flat", "the boot signature 55 AA at byte 510", has=_has(head, *_BOOT_SIGNATURE)
    ):
        from ringlet.boot import flat

        return flat.FlatKernel(image)
    raise _unknown(image, head)


def parse_as(image: Image, protocol: str) -> Kernel:
    """Parses the image by the protocol of this name.

    Raises `ImageError` for an image that doesn't follow the protocol, and `ConfigError` for an
    unknown name.
    """
    if protocol == "flat":
        from ringlet.boot import flat

        return flat.FlatKernel(image)
    if protocol == "linux":
        from ringlet.boot import linux

        if image.read(0, min(image.size, len(elf.MAGIC))) == elf.MAGIC:
            return linux.VmlinuxKernel(image, elf.parse(image))
        return linux.BzImageKernel(image)
    if protocol == "multiboot":
        from ringlet.boot import multiboot

        return multiboot.MultibootKernel(image, multiboot.find_header(image))
    if protocol == "pvh":
        from ringlet.boot import pvh

        executable = elf.parse(image)
        return pvh.PvhKernel(image, executable, list(elf.notes(image, executable)))
    if protocol == "elf64":
        from ringlet.boot import elf64

        return elf64.Elf64Kernel(image, elf.parse(image))
    raise ConfigError(
        f"there is no boot protocol {protocol!r}", f"choose one of {', '.join(PROTOCOLS)}"
    )


def _has(head: bytes, offset: int, magic: bytes) -> bool:
    return head[offset : offset + len(magic)] == magic


def _detect_elf(image: Image, looks: Looks) -> Kernel:
    executable = elf.parse(image, dynamic=True)
    if looks.see("elf", "type ET_DYN, no fixed addresses", has=executable.is_dynamic):
        return _detect_dynamic(image, executable, looks)
    notes = list(elf.notes(image, executable))
    sign = 'a note with the name "Linux", in an ELF of 64 bits'
    if looks.see("linux", sign, has=elf.is_linux(executable, notes)):
        from ringlet.boot import linux

        return linux.VmlinuxKernel(image, executable)
    from ringlet.boot import pvh

    if looks.see("pvh", pvh.SIGN, has=pvh.entry_point(image, notes) is not None):
        return pvh.PvhKernel(image, executable, notes)
    from ringlet.boot import multiboot

    header = multiboot.find_header(image)
    if looks.see("multiboot", multiboot.SIGN, has=header is not None):
        return multiboot.MultibootKernel(image, header, executable)
    if looks.see("elf64", "the class ELFCLASS64, an ELF of 64 bits", has=executable.bits == 64):
        from ringlet.boot import elf64

        return elf64.Elf64Kernel(image, executable)
    raise ImageError(
        f"{image.name} is a 32-bit ELF with no PVH note and no Multiboot header",
        "give it a PVH note (XEN_ELFNOTE_PHYS32_ENTRY), or build it as a 64-bit ELF",
    )


def _detect_dynamic(image: Image, executable: elf.Elf, looks: Looks) -> Kernel:
    from ringlet.boot import multiboot

    header = multiboot.find_header(image)
    if looks.see("multiboot", multiboot.SIGN, has=header is not None):
        return multiboot.MultibootKernel(image, header, executable)
    raise elf.position_independent(image)


def _unknown(image: Image, head: bytes) -> ImageError:
    text = not any(byte in _CONTROL_CHARACTERS for byte in head)
    what = "text" if text else "nothing that ringlet can boot"
    what = next((name for magic, name in _FORMATS if head.startswith(magic)), what)
    return ImageError(
        f"{image.name} is no kernel: it looks like {what}",
        "name an ELF; 16-bit code wants a name in .bin, or --protocol flat",
    )
