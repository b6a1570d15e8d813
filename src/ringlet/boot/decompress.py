"""A bzImage's payload, decompressed on the host: the kernel's own ELF, its vmlinux.

Source: Linux, scripts/Makefile.lib (how each format is made: all but gzip have the size of what
was compressed appended, in 4 bytes, as gzip has anyway); lz4, doc/lz4_Frame_format.md ("Legacy
frame").

What comes out is bounded in its whole, by what the payload says it is and by a limit of the
caller's, and in each step; so are the windows of the formats that have one.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import IO, Any, cast

from ringlet.board.layout import KIB, MIB
from ringlet.boot.image import Image
from ringlet.errors import ImageError

_INPUT = 64 * KIB
_OUTPUT = 1 * MIB
_WINDOW = 128 * MIB  # the most that Linux compresses with: zstd -22, xz --lzma2=dict=128MiB
_DECODER = 8 * MIB  # what liblzma needs beside its window, and more

_SIZE = 4  # bytes of the size at the payload's end
_GZIP = b"\x1f\x8b"
_LZ4_BLOCK = 8 * MIB  # of a legacy frame, decompressed
_LZ4_BLOCK_COMPRESSED = _LZ4_BLOCK + _LZ4_BLOCK // 255 + 16  # LZ4_COMPRESSBOUND
_LZ4 = b"\x02\x21\x4c\x18"


class _Source:
    """A range of an image, as a file to read from its start to its end."""

    def __init__(self, image: Image, offset: int, size: int) -> None:
        self._image = image
        self._offset = offset
        self._end = offset + size

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end."""
        data = self._image.read(self._offset, min(size, self._end - self._offset))
        self._offset += len(data)
        return data


# A decoder yields what it makes of a source, at most some MiB a time. Raises `ValueError`.
_Decoder = Callable[[_Source], Iterator[bytes]]


def _gzip(source: _Source) -> Iterator[bytes]:
    import zlib

    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)  # 16: with gzip's header and trailer
    try:
        while not decoder.eof:
            data = decoder.unconsumed_tail or source.read(_INPUT)
            out = decoder.decompress(data, _OUTPUT)
            if not (data or out):
                raise ValueError("it is cut short")
            yield out
    except zlib.error as error:
        raise ValueError(error) from error


def _lzma(source: _Source) -> Iterator[bytes]:
    """Of both formats, .xz and .lzma."""
    import lzma

    decoder = lzma.LZMADecompressor(memlimit=_WINDOW + _DECODER)
    try:
        yield from _pump(source, decoder)
    except lzma.LZMAError as error:
        raise ValueError(error) from error


def _bzip2(source: _Source) -> Iterator[bytes]:
    import bz2

    try:
        yield from _pump(source, bz2.BZ2Decompressor())
    except OSError as error:
        raise ValueError(error) from error


def _pump(source: _Source, decoder: Any) -> Iterator[bytes]:
    while not decoder.eof:
        data = source.read(_INPUT) if decoder.needs_input else b""
        if decoder.needs_input and not data:
            raise ValueError("it is cut short")
        yield decoder.decompress(data, _OUTPUT)


def _zstd(source: _Source) -> Iterator[bytes]:
    import zstandard

    decoder = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    try:
        # All that it wants of a file is read().
        with decoder.stream_reader(cast("IO[bytes]", source), read_size=_INPUT) as reader:
            while data := reader.read(_OUTPUT):
                yield data
    except zstandard.ZstdError as error:
        raise ValueError(error) from error


def _lz4(source: _Source) -> Iterator[bytes]:
    """A legacy frame: blocks without a checksum, each behind its size."""
    import lz4.block  # type: ignore[import-untyped]

    source.read(len(_LZ4))
    while size := int.from_bytes(source.read(4), "little"):
        if size > _LZ4_BLOCK_COMPRESSED:
            raise ValueError(f"a block has {size:#x} bytes")
        try:
            yield lz4.block.decompress(source.read(size), uncompressed_size=_LZ4_BLOCK)
        except lz4.block.LZ4BlockError as error:
            raise ValueError(error) from error


_FORMATS: tuple[tuple[bytes, str, _Decoder | None], ...] = (
    (_GZIP, "gzip", _gzip),
    (b"\xfd7zXZ\0", "xz", _lzma),
    (b"\x5d\0\0", "lzma", _lzma),
    (b"BZh", "bzip2", _bzip2),
    (b"\x28\xb5\x2f\xfd", "zstd", _zstd),
    (_LZ4, "lz4", _lz4),
    (b"\x89LZO", "lzo", None),
)


def decompressed_size(image: Image, offset: int, size: int) -> int:
    """How many bytes the payload, `size` bytes at `offset`, says that it becomes."""
    if size < _SIZE:
        raise ImageError(f"{image.name} has no payload", "build or download it again")
    return int.from_bytes(image.read(offset + size - _SIZE, _SIZE), "little")


def decompress(image: Image, offset: int, size: int, limit: int) -> Image:
    """What the payload, `size` bytes at `offset`, becomes: an image in memory.

    Raises `ImageError` where it can't be decompressed, and where it becomes more than `limit`
    bytes or other than the size that it says.
    """
    expected = decompressed_size(image, offset, size)
    if expected > limit:
        raise _unsound(image, f"it says it becomes {expected} bytes, but {limit} is the limit")
    magic = image.read(offset, min(size, 8))
    name, decoder = next(
        ((name, decoder) for start, name, decoder in _FORMATS if magic.startswith(start)),
        ("an unknown format", None),
    )
    if decoder is None:
        raise ImageError(
            f"{image.name} is compressed as {name}, which ringlet can't decompress",
            "let the guest decompress it",
        )
    source = _Source(image, offset, size if decoder is _gzip else size - _SIZE)
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
    """Write all of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _unsound(image: Image, what: str) -> ImageError:
    return ImageError(
        f"{image.name}'s payload can't be decompressed: {what}", "build or download it again"
    )
