"""A raw image in a file, or a block device, as a disk.

Source: readv(2), fallocate(2), fsync(2); Linux, include/uapi/linux/fs.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import threading
from collections import deque
from contextlib import contextmanager, suppress
from time import monotonic

from ringlet.closing import Closing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

_SECTOR = 512
_PAGE = 4096
_ZEROS_SIZE = 1 << 20
_QUICK, _QUICK_RATE = 0.0005, 1e9  # seconds, bytes a second

# ioctls of block devices
_BLKROGET, _BLKSSZGET, _BLKDISCARD, _BLKPBSZGET = 0x125E, 0x1268, 0x1277, 0x127B
_BLKGETSIZE64 = 0x80081272

# modes of fallocate; both keep the file's size
_PUNCH_HOLE, _ZERO_RANGE = 0x03, 0x11
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL)  # EINVAL: parts of a device's block


class _Pace:
    """Guesses whether a transfer will wait, for file systems without RWF_NOWAIT.

    `quick` is True if the last transfer was as fast as a copy in memory.
    """

    def __init__(self) -> None:
        self.quick = True

    @contextmanager
    def timed(self, size: int) -> Iterator[None]:
        start = monotonic()
        yield
        self.quick = monotonic() - start < _QUICK + size / _QUICK_RATE


class RawDisk(Closing):
    """The disk in the file or block device `fd`, which several threads may use at once.

    `size` and the block sizes are in bytes. `close` closes `fd`. Each method raises the host's
    `OSError`. No method checks that a range is inside the disk.
    """

    def __init__(self, fd: int, name: str, *, readonly: bool) -> None:
        status = os.fstat(fd)
        self.name = name
        self.readonly = readonly
        self.size = status.st_size
        self.block_size, self.physical_block_size = _SECTOR, _PAGE
        self._fd = fd
        self._device = stat.S_ISBLK(status.st_mode)
        if self._device:
            self.size = _ioctl(fd, _BLKGETSIZE64, "Q")
            self.block_size = _ioctl(fd, _BLKSSZGET, "i")
            self.physical_block_size = _ioctl(fd, _BLKPBSZGET, "I")
            # A block device that is set to read-only can be opened for writing all the same.
            if not readonly and _ioctl(fd, _BLKROGET, "i"):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        self.can_write_zeroes = not readonly
        self.can_discard = not readonly and self._knows_discard()
        self._try_reads = self._try_writes = True
        self._reads, self._writes = _Pace(), _Pace()
        self._sync_lock = threading.Lock()
        self._syncs = 0  # the number of fdatasync calls that began
        self._sync_error: tuple[object, ...] = ()

    def _knows_discard(self) -> bool:
        try:
            if self._device:
                # No block starts at byte 1, so a device that supports discard answers EINVAL.
                fcntl.ioctl(self._fd, _BLKDISCARD, struct.pack("QQ", 1, 1))
            else:
                _fallocate(self._fd, _PUNCH_HOLE, self.size, _SECTOR)
        except OSError as error:
            return self._device and error.errno == errno.EINVAL
        return True

    def try_read(self, buffers: Sequence[memoryview], offset: int) -> bool:
        """Fills the buffers if the read needs no waiting for the disk; returns whether it did.

        After a False, the buffers may hold anything.
        """
        if self._try_reads:
            try:
                done = os.preadv(self._fd, buffers, offset, os.RWF_NOWAIT)
                return done == sum(map(len, buffers))
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    return False
                self._try_reads = False
        if self._reads.quick:
            with suppress(OSError, EOFError):  # the caller then calls `read`, which raises them
                self.read(buffers, offset)
                return True
        return False

    def read(self, buffers: Sequence[memoryview], offset: int) -> None:
        """Fills the buffers. Raises `EOFError` if the file was cut short after it was opened."""
        left, size = deque(buffers), sum(map(len, buffers))
        with self._reads.timed(size):
            while size:
                done = os.preadv(self._fd, left, offset)
                if not done:
                    raise EOFError(f"{self.name} became shorter while it was in use")
                take(left, done)
                offset, size = offset + done, size - done

    def try_write(self, buffers: Sequence[memoryview], offset: int) -> bool:
        """Writes the buffers if the write needs no waiting for the disk; returns whether it did.

        After a False, a part of the buffers may be written.
        """
        if self._try_writes:
            try:
                done = os.pwritev(self._fd, buffers, offset, os.RWF_NOWAIT)
                return done == sum(map(len, buffers))
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    return False
                self._try_writes = False
        if self._writes.quick:
            with suppress(OSError):  # the caller then calls `write`, which raises the error
                self.write(buffers, offset)
                return True
        return False

    def write(self, buffers: Sequence[memoryview], offset: int, *, durable: bool = False) -> None:
        """Writes the buffers; if `durable`, the data outlasts a crash of the host."""
        left, size = deque(buffers), sum(map(len, buffers))
        with self._writes.timed(size):
            while size:
                done = os.pwritev(self._fd, left, offset)
                take(left, done)
                offset, size = offset + done, size - done
        if durable:  # not RWF_DSYNC, which could take an error that `flush` must report
            self.flush()

    def flush(self) -> None:
        """Makes all earlier writes outlast a crash of the host.

        After a flush has failed, every later flush fails, too.
        """
        needed = self._syncs + 1  # a sync that begins from now on serves all waiting threads
        # If the kernel can't write some data, it drops the data and reports the error once. A later
        # fdatasync, or a second one at the same time, would succeed. So there is one at a time, and
        # `_sync_error` keeps the error.
        with self._sync_lock:
            if self._syncs < needed:
                self._syncs += 1
                try:
                    os.fdatasync(self._fd)
                except OSError as error:
                    self._sync_error = error.args
            if self._sync_error:
                raise OSError(*self._sync_error)

    def discard(self, offset: int, size: int) -> None:
        """Gives the space of the range back to the host; the range may hold anything after that."""
        if not size:
            return  # for a size of 0, older kernels drop the page cache of the whole device
        if self._device:
            fcntl.ioctl(self._fd, _BLKDISCARD, struct.pack("QQ", offset, size))
        else:
            _fallocate(self._fd, _PUNCH_HOLE, offset, size)

    def write_zeroes(self, offset: int, size: int, *, unmap: bool) -> None:
        """Writes zeros to the range; if `unmap`, gives its space back to the host if possible."""
        for mode in (_PUNCH_HOLE, _ZERO_RANGE) if unmap else (_ZERO_RANGE,):
            try:
                return _fallocate(self._fd, mode, offset, size)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
        zeros = memoryview(bytes(min(size, _ZEROS_SIZE)))
        for start in range(offset, offset + size, _ZEROS_SIZE):
            self.write([zeros[: offset + size - start]], start)
        return None

    def close(self) -> None:
        """Closes the descriptor, which also releases the locks."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def take(buffers: deque[memoryview], size: int) -> list[memoryview]:
    """Removes the first `size` bytes from `buffers`; returns views of them, without a copy."""
    taken = []
    while size:
        buffer = buffers.popleft()
        if len(buffer) > size:
            buffers.appendleft(buffer[size:])
            buffer = buffer[:size]
        taken.append(buffer)
        size -= len(buffer)
    return taken


def _ioctl(fd: int, request: int, form: str) -> int:
    number: int = struct.unpack(form, fcntl.ioctl(fd, request, bytes(struct.calcsize(form))))[0]
    return number


def _fallocate(fd: int, mode: int, offset: int, size: int) -> None:
    code = _core().ringlet_fallocate(fd, mode, offset, size)
    if code < 0:
        raise OSError(-code, os.strerror(-code))


def _core() -> Any:
    from ringlet import _core

    return _core.lib
