"""A snapshot of a disk: the guest can write to it, and the writes are lost at the end.

The guest's writes go to a temporary file, in blocks of 4 KiB. The file has the size of the disk and
is sparse. Ringlet only reads the disk itself.

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
    """A disk with the contents of `image`, to which it never writes, and its own changes.

    Several threads may use the disk at once. `close` closes `image`, too.
    """

    readonly = False
    can_discard = can_write_zeroes = True

    def __init__(self, image: RawDisk) -> None:
        self.name = image.name
        self.size = image.size
        self.block_size = image.block_size
        self.physical_block_size = image.physical_block_size
        self._image = image
        # For each block, whether it is changed. This is a mapping, because a bytearray would take
        # up memory for all blocks from the start.
        self._where = mmap.mmap(-1, _blocks(0, self.size)[1], mmap.MAP_PRIVATE)
        self._changes = _temporary_disk(image)
        # A thread that writes to unchanged blocks holds this lock, so that no thread copies an old
        # block over a newer one.
        self._lock = threading.Lock()

    def try_read(self, buffers: Sequence[memoryview], offset: int) -> bool:
        """Fills the buffers if the read needs no waiting for a disk; returns whether it did.

        After a False, the buffers may hold anything.
        """
        left = deque(buffers)
        return all(
            disk.try_read(take(left, size), start)
            for disk, start, size in self._parts(offset, sum(map(len, buffers)))
        )

    def read(self, buffers: Sequence[memoryview], offset: int) -> None:
        """Fills the buffers. Raises `EOFError` if the image was cut short."""
        left = deque(buffers)
        for disk, start, size in self._parts(offset, sum(map(len, buffers))):
            disk.read(take(left, size), start)

    def try_write(self, buffers: Sequence[memoryview], offset: int) -> bool:
        """Writes the buffers if the write needs no waiting for a disk; returns whether it did.

        After a False, a part of the buffers may be written.
        """
        first, last = _blocks(offset, sum(map(len, buffers)))
        return self._all_changed(first, last) and self._changes.try_write(buffers, offset)

    def write(self, buffers: Sequence[memoryview], offset: int, *, durable: bool = False) -> None:
        """Writes the buffers, and ignores `durable`. Raises `EOFError` as `read` does."""
        size = sum(map(len, buffers))
        first, last = _blocks(offset, size)
        if self._all_changed(first, last):
            return self._changes.write(buffers, offset)
        with self._lock:
            # A block at either end is written in part; its rest comes from the image.
            if offset % _BLOCK:
                self._copy(first)
            if (offset + size) % _BLOCK:
                self._copy(last - 1)
            self._changes.write(buffers, offset)
            self._where[first:last] = _CHANGED * (last - first)
        return None

    def flush(self) -> None:
        """Does nothing: the writes are lost at the end, so they need not outlast a crash."""

    def discard(self, offset: int, size: int) -> None:
        """Gives the space of whole blocks back to the host; these blocks are zero then."""
        self._zero(*self._whole_blocks(offset, size))

    def write_zeroes(self, offset: int, size: int, *, unmap: bool) -> None:
        """Writes zeros to the range; whole blocks take no space, whether or not `unmap` is set."""
        end = offset + size
        first, last = self._whole_blocks(offset, size)
        head = min(first * _BLOCK, end)
        tail = max(last * _BLOCK, head)
        self._zero(first, last)
        for start, stop in ((offset, head), (tail, end)):
            if start < stop:
                self.write([memoryview(bytes(stop - start))], start)

    def close(self) -> None:
        """Closes the image and the temporary file, which is lost then."""
        self._changes.close()
        self._image.close()
        self._where.close()

    def _parts(self, offset: int, size: int) -> Iterator[tuple[RawDisk, int, int]]:
        """Yields the parts of a range in order: the disk, the offset in it, and the size."""
        end = offset + size
        while offset < end:
            block = offset // _BLOCK
            changed = self._where[block]
            # Look from the next block on, because another thread may change this block meanwhile.
            other = self._where.find(
                _KEPT if changed else _CHANGED, block + 1, _blocks(offset, end - offset)[1]
            )
            stop = end if other < 0 else other * _BLOCK
            yield self._changes if changed else self._image, offset, stop - offset
            offset = stop

    def _all_changed(self, first: int, last: int) -> bool:
        return self._where.find(_KEPT, first, last) < 0

    def _whole_blocks(self, offset: int, size: int) -> tuple[int, int]:
        """Returns the first block that is wholly in a range, and the block after the last one."""
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
    """Returns the first block that a range touches, and the block after the last one."""
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
    """Opens a file without a name; the kernel removes the file when the process ends."""
    folder = os.environ.get("TMPDIR") or "/var/tmp"  # on many systems, /tmp is in memory
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # not every file system supports O_TMPFILE
        from tempfile import TemporaryFile

        with TemporaryFile() as file:
            return os.dup(file.fileno())
