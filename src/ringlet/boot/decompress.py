"""Decompresses a bzImage's payload on the host, into the kernel's own ELF, the vmlinux.

Source: Linux, scripts/Makefile.lib, which makes the payload in each format. The last 4 bytes of a
payload are the size of the decompressed data: gzip writes this size itself, and Linux appends the
size to all other formats.

The decompressed data may not be larger than this size, nor larger than the caller's limit.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from ringlet.boot.image import Image
from ringlet.errors import ImageError
from ringlet.host import decoders

_SIZE = 4  # bytes of the size at the payload's end


class _Source:
    """A range of an image, as a file to read from its start to its end."""

    def __init__(self, image: Image, offset: int, size: int) -> None:
        self._image = image
        self._offset = offset
        self._end = offset + size

    def read(self, size: int) -> bytes:
        """Returns the next `size` bytes, fewer at the end of the range."""
        data = self._image.read(self._offset, min(size, self._end - self._offset))
        self._offset += len(data)
        return data


def decompressed_size(image: Image, offset: int, size: int) -> int:
    """Returns the size of the decompressed payload, as the payload itself states it.

    The payload is the `size` bytes at `offset`.
    """
    if size < _SIZE:
        raise ImageError(f"{image.name} has no payload", "build or download it again")
    return int.from_bytes(image.read(offset + size - _SIZE, _SIZE), "little")


def decompress(image: Image, offset: int, size: int, limit: int) -> Image:
    """Decompresses the payload, `size` bytes at `offset`, into an image in memory.

    Raises `ImageError` if the payload can't be decompressed, if the result is larger than `limit`
    bytes, or if the result doesn't have the size that the payload states.
    """
    expected = decompressed_size(image, offset, size)
    if expected > limit:
        raise _unsound(image, f"it says it becomes {expected} bytes, but {limit} is the limit")
    name, decoder = decoders.find(image.read(offset, min(size, 8)))
    if decoder is None:
        raise ImageError(
            f"{image.name} is compressed as {name}, which ringlet can't decompress",
            "let the guest decompress it",
        )
    source = _Source(image, offset, size if name == "gzip" else size - _SIZE)
    with ExitStack() as stack:
        try:
            fd = os.memfd_create("ringlet-vmlinux")
            vmlinux = stack.enter_context(Image(fd, f"{image.name}'s payload", expected))
            total = 0
            for data in decoder(source):
                total += len(data)
                if total > expected:
                    raise ValueError(f"it becomes more than the {expected} bytes that it says")
                write(fd, data)
            if total < expected:
                raise ValueError(f"it becomes {total} bytes and not the {expected} that it says")
        except ValueError as error:
            raise _unsound(image, str(error)) from error
        except ImportError as error:
            raise ImageError(
                f"{image.name} is compressed as {name}, and {error.name} can't be imported",
                f"install it: pip install {error.name}",
            ) from error
        except OSError as error:
            raise ImageError(
                f"there is no room to decompress {image.name}: {error.strerror}",
                "let the guest decompress it",
            ) from error
        stack.pop_all()
    return vmlinux


def write(fd: int, data: bytes) -> None:
    """Writes all of `data` to `fd`."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _unsound(image: Image, what: str) -> ImageError:
    return ImageError(
        f"{image.name}'s payload can't be decompressed: {what}", "build or download it again"
    )
