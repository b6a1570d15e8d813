"""Puts an image into guest memory and says how the first vCPU starts: a protocol a file."""

from __future__ import annotations

from ringlet.boot.detect import PROTOCOLS, detect, parse_as
from ringlet.boot.entry import Entry
from ringlet.boot.image import Image, open_image
from ringlet.boot.kernel import DEFAULT_MEMORY, Kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

__all__ = [
    "DEFAULT_MEMORY",
    "PROTOCOLS",
    "Entry",
    "Image",
    "Kernel",
    "open_image",
    "open_kernel",
]


def open_kernel(source: str | bytes | os.PathLike[str], protocol: str | None = None) -> Kernel:
    """Opens and parses a kernel: the file named `source`, or the image's bytes.

    `protocol` is one of `PROTOCOLS`, or None to detect the protocol from the image. Raises
    `ImageError` for an image that can't be opened, that doesn't follow `protocol`, or that follows
    no protocol. Raises `ConfigError` for an unknown protocol.
    """
    image = open_image(source)
    try:
        return detect(image) if protocol is None else parse_as(image, protocol)
    except BaseException:
        image.close()
        raise
