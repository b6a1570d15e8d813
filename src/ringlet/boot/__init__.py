"""Puts an image into guest memory and says how the first vCPU starts: a protocol a file."""

from collections.abc import Sequence

from ringlet.board.layout import FLAT_LOAD
from ringlet.boot import elf64, flat, pvh
from ringlet.boot.detect import detect
from ringlet.boot.entry import Entry
from ringlet.boot.image import Image, open_image
from ringlet.errors import ConfigError
from ringlet.kvm.memory import GuestMemory

__all__ = ["PROTOCOLS", "Entry", "Image", "detect", "load", "open_image"]

PROTOCOLS = ("flat", "linux", "multiboot", "pvh", "elf64")


def load(
    image: Image,
    memory: GuestMemory,
    *,
    protocol: str | None = None,
    command_line: bytes = b"",
    modules: Sequence[tuple[Image, bytes]] = (),
    load_address: int | None = None,
    decompress: bool | None = None,
) -> Entry:
    """Put the image, and what the guest is told, into fresh `memory`.

    `protocol` is one of `PROTOCOLS`, None to look at the image. Each module comes with its
    command line. `load_address` is for flat images, `decompress` for a bzImage: whether the host
    decompresses it or the guest, None for what is faster. Raises `ImageError`, or `ConfigError` for
    an option that doesn't fit; then memory may be written in part, though only where a guest's
    image, its modules and the boot data belong.
    """
    if protocol is None:
        protocol = detect(image)
    if protocol == "flat":
        if command_line or modules:
            raise ConfigError(
                f"{image.name} is a flat image: it takes no command line and no modules",
                "leave --cmdline, --initrd and --module out",
            )
        return flat.load(image, memory, FLAT_LOAD if load_address is None else load_address)
    if protocol not in PROTOCOLS:
        raise ConfigError(
            f"there is no boot protocol {protocol!r}", f"choose one of {', '.join(PROTOCOLS)}"
        )
    if load_address is not None:
        raise ConfigError(
            f"{image.name} is loaded where its header says, not at a load address",
            "leave --load-address out; it is for --protocol flat",
        )
    if protocol == "linux":
        from ringlet.boot import linux

        return linux.load(image, memory, command_line, modules, decompress=decompress)
    if protocol == "multiboot":
        from ringlet.boot import multiboot

        return multiboot.load(image, memory, command_line, modules)
    load_elf = pvh.load if protocol == "pvh" else elf64.load
    return load_elf(image, memory, command_line, modules)
