"""Each format of a payload; and that none of them, however broken, takes more than it says."""

import bz2
import gzip
import lzma
import subprocess
import sys
from pathlib import Path
from struct import pack

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlet.boot import open_image
from ringlet.boot.decompress import decompress, decompressed_size
from ringlet.errors import ImageError

from ..examples import examples
from .bzimage_builder import COMPRESS, payload

FORMATS = pytest.mark.parametrize("name", COMPRESS)
LIMIT = 64 << 20
DATA = b"".join(b"%d squared is %d\n" % (n, n * n) for n in range(2000))


def decompressed(data: bytes | bytearray, limit: int = LIMIT) -> bytes:
    before = b"before"
    with (
        open_image(before + bytes(data) + b"behind") as image,
        decompress(image, len(before), len(data), limit) as out,
    ):
        return out.read(0, out.size)


def refused(data: bytes | bytearray, message: str, limit: int = LIMIT) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        decompressed(data, limit)
    assert "\n" not in caught.value.message + caught.value.hint
    assert caught.value.hint


@FORMATS
@pytest.mark.parametrize("data", [b"x", DATA, DATA * 60])
def test_what_was_compressed_comes_out(name: str, data: bytes) -> None:
    assert decompressed(payload(name, data)) == data


@FORMATS
def test_a_limit_holds_what_just_fits(name: str) -> None:
    assert decompressed(payload(name, DATA), len(DATA)) == DATA
    refused(payload(name, DATA), "the limit", len(DATA) - 1)


def test_lz4_has_blocks_of_8_mib() -> None:
    data = bytes(range(256)) * (9 << 12)  # 9 MiB
    assert decompressed(payload("lz4", data)) == data


def test_linux_makes_xz_with_a_filter_for_x86_and_a_dictionary_of_128_mib() -> None:
    filters = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "dict_size": 128 << 20}]
    compressed = lzma.compress(DATA, check=lzma.CHECK_CRC32, filters=filters)
    assert decompressed(compressed + pack("<I", len(DATA))) == DATA


def test_linux_makes_zstd_with_a_window_of_128_mib() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        22, window_log=27, write_content_size=False
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    # In a stream of unknown size, or the window would be as small as the data.
    chunks = compressor.compressobj()
    compressed = chunks.compress(DATA) + chunks.flush()
    assert decompressed(compressed + pack("<I", len(DATA))) == DATA


def test_the_size_stands_at_the_end() -> None:
    with open_image(b"x" + pack("<I", 1234) + b"x") as image:
        assert decompressed_size(image, 1, 4) == 1234
        with pytest.raises(ImageError, match="has no payload"):
            decompressed_size(image, 1, 3)


@pytest.mark.parametrize(
    ("data", "what"),
    [(b"\x89LZO\0" + bytes(100), "lzo"), (bytes(100), "an unknown format")],
)
def test_a_format_that_ringlet_lacks_is_named(data: bytes, what: str) -> None:
    refused(data, f"is compressed as {what}, which ringlet can't decompress")


@FORMATS
@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_wrong_size_is_refused(name: str, wrong: int) -> None:
    compressed = payload(name, DATA)[:-4] + pack("<I", len(DATA) + wrong)
    refused(compressed, "can't be decompressed")


@FORMATS
def test_every_truncation_is_refused(name: str) -> None:
    compressed = payload(name, DATA[:300])
    for size in range(len(compressed) - 4):
        # The size is what it should be, so that it isn't the size that is refused.
        data = compressed[:size] + pack("<I", 300)
        if name == "zstd" and size >= len(compressed) - 8:
            assert decompressed(data) == DATA[:300]  # it lacks its checksum alone
        else:
            with pytest.raises(ImageError):
                decompressed(data)


@pytest.mark.parametrize("library", ["zstandard", "lz4.block"])
def test_a_library_that_is_missing_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    name = "zstd" if library == "zstandard" else "lz4"
    refused(payload(name, DATA), f"is compressed as {name}, and {library} can't be imported")


# Bombs: small payloads that become much.

HUGE = 1 << 30
FEW = 1 << 16


def _lz4_bomb() -> bytes:
    block = COMPRESS["lz4"](bytes(8 << 20))[4:]
    return b"\x02\x21\x4c\x18" + block * (HUGE >> 23)


def _stream(compressor: "lzma.LZMACompressor | bz2.BZ2Compressor") -> bytes:
    zeros = bytes(1 << 20)
    return b"".join(compressor.compress(zeros) for _ in range(HUGE >> 20)) + compressor.flush()


def _zstd_bomb() -> bytes:
    # A frame of run-length blocks (RFC 8878, 3.1.1.2): 4 bytes for 128 KiB.
    block = (1 << 1 | (128 << 10) << 3).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd\0\x88" + block * (HUGE >> 17)


def _gzip_bomb() -> bytes:
    return gzip.compress(bytes(64 << 20), 1)


BOMBS = {
    "gzip": _gzip_bomb,
    "xz": lambda: _stream(lzma.LZMACompressor(preset=0)),
    "lzma": lambda: _stream(lzma.LZMACompressor(lzma.FORMAT_ALONE, preset=0)),
    "bzip2": lambda: _stream(bz2.BZ2Compressor()),
    "zstd": _zstd_bomb,
    "lz4": _lz4_bomb,
}
# What a decoder is to keep of its output: almost 4 GiB, and 2 GiB.
WINDOWS = {
    "lzma": b"\x5d" + b"\0\0\0\xff" + b"\xff" * 8 + bytes(100),
    "zstd": b"\x28\xb5\x2f\xfd\0\xa8" + bytes(100),
}
CHILD = """
import resource, sys
from ringlet.boot import open_image
from ringlet.boot.decompress import decompress
from ringlet.errors import ImageError
import bz2, lz4.block, lzma, zlib, zstandard
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
with open_image(sys.argv[1]) as image:
    try:
        decompress(image, 0, image.size, 65536)
    except ImageError as error:
        print(error)
"""


def ended_with(data: bytes, folder: Path) -> str:
    """The error of a process whose address space is bounded."""
    path = folder / "payload"
    path.write_bytes(data)
    result = subprocess.run(
        [sys.executable, "-c", CHILD, path, str(192 << 20)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr == ""
    return result.stdout


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("xz", "lzma", "bzip2") else ())
        for name in BOMBS
    ],
)
def test_a_bomb_ends_within_bounded_memory(name: str, tmp_path: Path) -> None:
    bomb = BOMBS[name]() + pack("<I", FEW)
    assert f"it becomes more than the {FEW} bytes that it says" in ended_with(bomb, tmp_path)


@pytest.mark.parametrize("name", WINDOWS)
def test_a_huge_window_is_refused_within_bounded_memory(name: str, tmp_path: Path) -> None:
    bomb = WINDOWS[name] + pack("<I", FEW)
    assert "can't be decompressed" in ended_with(bomb, tmp_path)


# Property tests: payloads with something wrong with them.

PAYLOADS = {name: payload(name, DATA[:5000]) for name in COMPRESS}


def decompressed_or_refused(data: bytes | bytearray) -> None:
    try:
        out = decompressed(data, LIMIT)
    except ImageError:
        return
    assert len(out) == int.from_bytes(data[-4:], "little")


@settings(max_examples=examples(600), deadline=None)
@given(
    st.sampled_from(sorted(PAYLOADS)),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=5),
)
def test_flipped_bytes_are_decompressed_or_refused(name: str, flips: list[tuple[int, int]]) -> None:
    data = bytearray(PAYLOADS[name])
    for offset, value in flips:
        data[offset % len(data)] = value
    decompressed_or_refused(data)


@settings(max_examples=examples(400), deadline=None)
@given(
    st.sampled_from([data[:length] for data in PAYLOADS.values() for length in (2, 4, 6, 12, 30)]),
    st.binary(max_size=200),
)
def test_noise_behind_a_magic_is_decompressed_or_refused(start: bytes, noise: bytes) -> None:
    decompressed_or_refused(start + noise)


@pytest.mark.usefixtures("no_leak")
@FORMATS
def test_nothing_stays_open(name: str) -> None:
    data = PAYLOADS[name]
    assert len(decompressed(data)) == 5000
    refused(data[:-20] + data[-4:], "can't be decompressed")
