"""Streaming decoders for the compression formats of Linux kernels and kernel modules.

Each step of a decoder produces a bounded number of bytes, and the window of a format is bounded,
too. The caller must limit the whole output. Source: lz4, doc/lz4_Frame_format.md ("Legacy frame");
for the other formats, their libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, cast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

_MIB = 1 << 20
_INPUT = 64 << 10
_OUTPUT = 1 * _MIB
_WINDOW = 128 * _MIB  # the largest window that Linux uses: zstd -22, xz --lzma2=dict=128MiB
_DECODER = 8 * _MIB  # more than liblzma needs beside its window

_LZ4_BLOCK = 8 * _MIB  # the decompressed size of a block of a legacy frame
_LZ4_BLOCK_COMPRESSED = _LZ4_BLOCK + _LZ4_BLOCK // 255 + 16  # LZ4_COMPRESSBOUND
_LZ4 = b"\x02\x21\x4c\x18"


class Source(Protocol):
    """Data that a decoder reads from start to end, for example a file."""

    def read(self, size: int, /) -> bytes:
        """Returns the next `size` bytes, fewer at the end."""
        ...


# A decoder yields the decompressed data of a source, at most some MiB at a time. A decoder raises
# `ValueError` for wrong data, and `ImportError` if its library is missing.
Decoder = Callable[[Source], Iterator[bytes]]


def _gzip(source: Source) -> Iterator[bytes]:
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


def _lzma(source: Source) -> Iterator[bytes]:
    """Decompresses both formats, .xz and .lzma."""
    import lzma

    decoder = lzma.LZMADecompressor(memlimit=_WINDOW + _DECODER)
    try:
        yield from _pump(source, decoder)
    except lzma.LZMAError as error:
        raise ValueError(error) from error


def _bzip2(source: Source) -> Iterator[bytes]:
    import bz2

    try:
        yield from _pump(source, bz2.BZ2Decompressor())
    except OSError as error:
        raise ValueError(error) from error


def _pump(source: Source, decoder: Any) -> Iterator[bytes]:
    while not decoder.eof:
        data = source.read(_INPUT) if decoder.needs_input else b""
        if decoder.needs_input and not data:
            raise ValueError("it is cut short")
        yield decoder.decompress(data, _OUTPUT)


def _zstd(source: Source) -> Iterator[bytes]:
    import zstandard

    decoder = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    try:
        # The decoder uses only the method read() of the file.
        with decoder.stream_reader(cast("IO[bytes]", source), read_size=_INPUT) as reader:
            while data := reader.read(_OUTPUT):
                yield data
    except zstandard.ZstdError as error:
        raise ValueError(error) from error


def _lz4(source: Source) -> Iterator[bytes]:
    """Decompresses a legacy frame: blocks without a checksum, with the size before each block."""
    import lz4.block  # type: ignore[import-untyped]

    source.read(len(_LZ4))
    while size := int.from_bytes(source.read(4), "little"):
        if size > _LZ4_BLOCK_COMPRESSED:
            raise ValueError(f"a block has {size:#x} bytes")
        try:
            yield lz4.block.decompress(source.read(size), uncompressed_size=_LZ4_BLOCK)
        except lz4.block.LZ4BlockError as error:
            raise ValueError(error) from error


# The first bytes of each format, its name, and its decoder: None if there is no library.
_FORMATS: tuple[tuple[bytes, str, Decoder | None], ...] = (
    (b"\x1f\x8b", "gzip", _gzip),
    (b"\xfd7zXZ\0", "xz", _lzma),
    (b"\x5d\0\0", "lzma", _lzma),
    (b"BZh", "bzip2", _bzip2),
    (b"\x28\xb5\x2f\xfd", "zstd", _zstd),
    (_LZ4, "lz4", _lz4),
    (b"\x89LZO", "lzo", None),
)


def find(start: bytes) -> tuple[str, Decoder | None]:
    """Returns the name and the decoder of a format; `start` is the first bytes of the data."""
    return next(
        ((name, decoder) for magic, name, decoder in _FORMATS if start.startswith(magic)),
        ("an unknown format", None),
    )
