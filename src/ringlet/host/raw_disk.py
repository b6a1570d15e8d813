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

# modes of fallocate, which all keep the file's size
_PUNCH_HOLE, _ZERO_RANGE = 0x03, 0x11
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL)  # EINVAL: parts of a device's block


class _Pace:
    """Whether a transfer is likely not to wait, for file systems that can't say beforehand.

    So it is, if the last one was as quick as a copy in memory.
    """

    def __init__(self) -> None:
        self.quick = True

    @contextmanager
    def timed(self, size: int) -> Iterator[None]:
        start = monotonic()
        yield
        self.quick = monotonic() - start < _QUICK + size / _QUICK_RATE


class RawDisk(Closing):
    """The disk in the file or block device `fd`, which it closes. For several threads at once.

    `size` and the block sizes are in bytes. Everything raises the host's `OSError`; nothing looks
    at whether a range is inside the disk.
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
            # One that is set to read-only can be opened for writing all the same.
            if not readonly and _ioctl(fd, _BLKROGET, "i"):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        self.can_write_zeroes = not readonly
        self.can_discard = not readonly and self._knows_discard()
        self._try_reads = self._try_writes = True
        self._reads, self._writes = _Pace(), _Pace()
        self._sync_lock = threading.Lock()
        self._syncs = 0  # that began
        self._sync_error: tuple[object, ...] = ()

    def _knows_discard(self) -> bool:
        try:
            if self._device:
                # No block starts at 1: refused as invalid where discard is known.
                fcntl.ioctl(self._fd, _BLKDISCARD, struct.pack("QQ", 1, 1))
            else:
                _fallocate(self._fd, _PUNCH_HOLE, self.size, _SECTOR)
        except OSError as error:
            return self._device and error.errno == errno.EINVAL
        return True

    def try_read(self, buffers: Sequence[memoryview], offset: int) -> bool:
        """Fills the buffers, if that takes no waiting for the disk; else they hold anything."""
        if self._try_reads:
            try:
                done = os.preadv(self._fd, buffers, offset, os.RWF_NOWAIT)
                return done == sum(map(len, buffers))
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    return False
                self._try_reads = False
        if self._reads.quick:
            with suppress(OSError, EOFError):  # `read` will tell
                self.read(buffers, offset)
                return True
        return False

    def read(self, buffers: Sequence[memoryview], offset: int) -> None:
        """Fills the buffers. Raises `EOFError` where a file was cut short since it was opened."""
        left, size = deque(buffers), sum(map(len, buffers))
        with self._reads.timed(size):
            while size:
                done = os.preadv(self._fd, left, offset)
                if not done:
                    raise EOFError(f"{self.name} became shorter while it was in use")
                take(left, done)
                offset, size = offset + done, size - done

    def try_write(self, buffers: Sequence[memoryview], offset: int) -> bool:
        """Writes the buffers, if that takes no waiting for the disk; else perhaps a part."""
        if self._try_writes:
            try:
                done = os.pwritev(self._fd, buffers, offset, os.RWF_NOWAIT)
                return done == sum(map(len, buffers))
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    return False
                self._try_writes = False
        if self._writes.quick:
            with suppress(OSError):  # `write` will tell
                self.write(buffers, offset)
                return True
        return False

    def write(self, buffers: Sequence[memoryview], offset: int, *, durable: bool = False) -> None:
        """Writes the buffers; if `durable`, they outlast a crash of the host."""
        left, size = deque(buffers), sum(map(len, buffers))
        with self._writes.timed(size):
            while size:
                done = os.pwritev(self._fd, left, offset)
                take(left, done)
                offset, size = offset + done, size - done
        if durable:  # not RWF_DSYNC: its error would take the one that flush has to see
            self.flush()

    def flush(self) -> None:
        """What was written before outlasts a crash of the host. Once it has failed, it fails."""
        needed = self._syncs + 1  # one that begins from now on does for all who wait for it
        # The kernel drops what it couldn't write and tells of that once: the next call would
        # succeed, and so would one that ran at the same time.
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
        """Gives the space back to the host. What the range holds from then on is undefined."""
        if not size:
            return  # older kernels drop the whole device's page cache then
        if self._device:
            fcntl.ioctl(self._fd, _BLKDISCARD, struct.pack("QQ", offset, size))
        else:
            _fallocate(self._fd, _PUNCH_HOLE, offset, size)

    def write_zeroes(self, offset: int, size: int, *, unmap: bool) -> None:
        """Zeros the range; if `unmap`, its space goes back to the host where that can be."""
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
        """Closes the descriptor; the locks go with it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def take(buffers: deque[memoryview], size: int) -> list[memoryview]:
    """Removes the first `size` bytes and returns them, in the same memory."""
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
