"""A snapshot of a disk: it can be written, and what was written is forgotten at the end.

What the guest writes goes to a temporary file of the disk's size, full of holes, in blocks of
4 KiB. The disk itself is only read.

Source: open(2), O_TMPFILE; file-hierarchy(7), /var/tmp.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections import deque

from ringlet.closing import Closing
from ringlet.errors import ConfigError
from ringlet.host.raw_disk import RawDisk, take

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BLOCK = 4096
_KEPT, _CHANGED = b"\0", b"\1"


class Overlay(Closing):
    """A disk like `image`, which it closes, and never writes to. For several threads at once."""

    readonly = False
    can_discard = can_write_zeroes = True

    def __init__(self, image: RawDisk) -> None:
        self.name = image.name
        self.size = image.size
        self.block_size = image.block_size
        self.physical_block_size = image.physical_block_size
        self._image = image
        # For each block, where it is. A mapping: a bytearray would be memory from the start.
        self._where = mmap.mmap(-1, _blocks(0, self.size)[1], mmap.MAP_PRIVATE)
        self._changes = _temporary_disk(image)
        # Held by who writes to blocks that are kept, so that none is copied over a newer one.
        self._lock = threading.Lock()

    def try_read(self, buffers: Sequence[memoryview], offset: int) -> bool:
        """Fills the buffers, if that takes no waiting for a disk; else they hold anything."""
        left = deque(buffers)
        return all(
            disk.try_read(take(left, size), start)
            for disk, start, size in self._parts(offset, sum(map(len, buffers)))
        )

    def read(self, buffers: Sequence[memoryview], offset: int) -> None:
        """Fills the buffers. Raises `EOFError` where the image was cut short."""
        left = deque(buffers)
        for disk, start, size in self._parts(offset, sum(map(len, buffers))):
            disk.read(take(left, size), start)

    def try_write(self, buffers: Sequence[memoryview], offset: int) -> bool:
        """Writes the buffers, if that takes no waiting for a disk; else perhaps a part."""
        first, last = _blocks(offset, sum(map(len, buffers)))
        return self._all_changed(first, last) and self._changes.try_write(buffers, offset)

    def write(self, buffers: Sequence[memoryview], offset: int, *, durable: bool = False) -> None:
        """Writes the buffers. Nothing is `durable`. Raises `EOFError` as `read` does."""
        size = sum(map(len, buffers))
        first, last = _blocks(offset, size)
        if self._all_changed(first, last):
            return self._changes.write(buffers, offset)
        with self._lock:
            # Of the blocks at both ends, the rest comes from the image.
            if offset % _BLOCK:
                self._copy(first)
            if (offset + size) % _BLOCK:
                self._copy(last - 1)
            self._changes.write(buffers, offset)
            self._where[first:last] = _CHANGED * (last - first)
        return None

    def flush(self) -> None:
        """Nothing: what is to be forgotten needs no safe place."""

    def discard(self, offset: int, size: int) -> None:
        """Gives the space of whole blocks back to the host; they are zeros then."""
        self._zero(*self._whole_blocks(offset, size))

    def write_zeroes(self, offset: int, size: int, *, unmap: bool) -> None:
        """Zeros the range. Whole blocks of it take no space, whatever `unmap` says."""
        end = offset + size
        first, last = self._whole_blocks(offset, size)
        head = min(first * _BLOCK, end)
        tail = max(last * _BLOCK, head)
        self._zero(first, last)
        for start, stop in ((offset, head), (tail, end)):
            if start < stop:
                self.write([memoryview(bytes(stop - start))], start)

    def close(self) -> None:
        """Closes both files; the temporary one is gone."""
        self._changes.close()
        self._image.close()
        self._where.close()

    def _parts(self, offset: int, size: int) -> Iterator[tuple[RawDisk, int, int]]:
        """The parts of a range, one after the other: the disk, the offset in it, the size."""
        end = offset + size
        while offset < end:
            block = offset // _BLOCK
            changed = self._where[block]
            # From the next block on: this one may have become another's meanwhile.
            other = self._where.find(
                _KEPT if changed else _CHANGED, block + 1, _blocks(offset, end - offset)[1]
            )
            stop = end if other < 0 else other * _BLOCK
            yield self._changes if changed else self._image, offset, stop - offset
            offset = stop

    def _all_changed(self, first: int, last: int) -> bool:
        return self._where.find(_KEPT, first, last) < 0

    def _whole_blocks(self, offset: int, size: int) -> tuple[int, int]:
        """The first block that is all in a range, and the one after the last such block."""
        end = offset + size
        return -(-offset // _BLOCK), -(-end // _BLOCK) if end == self.size else end // _BLOCK

    def _copy(self, block: int) -> None:
        if not self._where[block]:
            start = block * _BLOCK
            buffer = [memoryview(bytearray(min(_BLOCK, self.size - start)))]
            self._image.read(buffer, start)
            self._changes.write(buffer, start)
            self._where[block : block + 1] = _CHANGED

    def _zero(self, first: int, last: int) -> None:
        if first < last:
            start, end = first * _BLOCK, min(last * _BLOCK, self.size)
            with self._lock:
                self._changes.write_zeroes(start, end - start, unmap=True)
                self._where[first:last] = _CHANGED * (last - first)


def _blocks(offset: int, size: int) -> tuple[int, int]:
    """The first block that a range touches, and the one after the last."""
    return offset // _BLOCK, -(-(offset + size) // _BLOCK)


def _temporary_disk(image: RawDisk) -> RawDisk:
    try:
        fd = _temporary_file()
        try:
            os.ftruncate(fd, image.size)
            return RawDisk(fd, f"the snapshot of {image.name}", readonly=False)
        except BaseException:
            os.close(fd)
            raise
    except OSError as error:
        raise ConfigError(
            f"there can be no snapshot of {image.name}: {error.strerror or error}",
            "name a folder with room for it: TMPDIR=FOLDER",
        ) from error


def _temporary_file() -> int:
    """A file without a name, which is gone however the process ends."""
    folder = os.environ.get("TMPDIR") or "/var/tmp"  # /tmp is in memory on many a system
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # not on every file system
        from tempfile import TemporaryFile

        with TemporaryFile() as file:
            return os.dup(file.fileno())
