"""The virtio block device: a disk for the guest. Source: virtio 1.2, 5.2."""

from __future__ import annotations

import os
import struct
from functools import partial
from typing import Protocol

from ringlet.virtio.device import VirtioDevice
from ringlet.virtio.queue import DriverError, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ringlet.virtio.queue import Chain

SECTOR = 512
QUEUE_SIZE = 256
SEG_MAX = QUEUE_SIZE - 2  # the header and the status take a buffer each
SIZE_MAX = 1 << 20  # bytes of a segment
# The most bytes of a request: the end of a machine waits for the requests under way.
_MAX_TRANSFER = SEG_MAX * SIZE_MAX
# The limits of a discard or write zeroes request, for the same reason: the host may have to write
# the zeros.
_MAX_CLEAR_SEGMENTS = 16
_MAX_CLEAR = 1 << 24  # bytes of each segment

# Features (5.2.3).
F_SIZE_MAX = 1 << 1
F_SEG_MAX = 1 << 2
F_RO = 1 << 5
F_BLK_SIZE = 1 << 6
F_FLUSH = 1 << 9
F_TOPOLOGY = 1 << 10
F_DISCARD = 1 << 13
F_WRITE_ZEROES = 1 << 14

# Requests (5.2.6).
T_IN, T_OUT, T_FLUSH, T_GET_ID, T_DISCARD, T_WRITE_ZEROES = 0, 1, 4, 8, 11, 13
S_OK, S_IOERR, S_UNSUPP = 0, 1, 2
ID_SIZE = 20
FLAG_UNMAP = 1
_HEADER = struct.Struct("<I4xQ")  # type, sector
_CLEAR = struct.Struct("<QII")  # sector, number of sectors, flags

# capacity, size_max, seg_max, geometry, blk_size, topology, writeback, num_queues, then the limits
# of discard and of write zeroes.
_CONFIG = struct.Struct("<QIIHBBIBBHIBxHIIIIIB3x")


class DiskBackend(Protocol):
    """A disk of the host that several threads use at once (host/raw_disk.py, host/overlay.py).

    Sizes and offsets are in bytes. Each method raises the host's `OSError`, and `EOFError` for a
    file that was cut short. The block device checks that a range is inside the disk; the methods
    don't.
    """

    name: str
    readonly: bool
    size: int
    block_size: int
    physical_block_size: int
    can_discard: bool
    can_write_zeroes: bool

    def try_read(self, buffers: Sequence[memoryview], offset: int) -> bool:
        """Fills the buffers if the read needs no waiting; returns whether it did.

        After a False, the buffers may hold anything.
        """
        ...

    def read(self, buffers: Sequence[memoryview], offset: int) -> None:
        """Fills the buffers, and waits for the host."""
        ...

    def try_write(self, buffers: Sequence[memoryview], offset: int) -> bool:
        """Writes the buffers if the write needs no waiting; returns whether it did.

        After a False, a part of the buffers may be written.
        """
        ...

    def write(self, buffers: Sequence[memoryview], offset: int, *, durable: bool = False) -> None:
        """Writes the buffers; if `durable`, the data outlasts a crash of the host."""
        ...

    def flush(self) -> None:
        """Makes all earlier writes outlast a crash of the host.

        After a flush has failed, every later flush fails, too.
        """
        ...

    def discard(self, offset: int, size: int) -> None:
        """Discards the range, which may hold anything from now on."""
        ...

    def write_zeroes(self, offset: int, size: int, *, unmap: bool) -> None:
        """Writes zeros to the range; if `unmap`, gives its space back to the host if possible."""
        ...

    def close(self) -> None:
        """Closes the disk; a second call does nothing."""
        ...


class Block(VirtioDevice):
    """The block device on `disk`; closing the device closes `disk`.

    Between requests, only the contents of the disk change, so the device has no `state`.
    """

    device_id = 2
    queue_sizes = (QUEUE_SIZE,)

    def __init__(self, disk: DiskBackend) -> None:
        self._disk = disk
        self.features = F_SIZE_MAX | F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY
        if disk.readonly:
            self.features |= F_RO
        else:
            self.features |= F_DISCARD * disk.can_discard | F_WRITE_ZEROES * disk.can_write_zeroes
        block = disk.block_size
        sectors = block // SECTOR
        physical = min(max(disk.physical_block_size // block, 1), 0x8000)  # in blocks
        self.config = _CONFIG.pack(
            *(disk.size // SECTOR, SIZE_MAX, SEG_MAX, 0, 0, 0, block),
            *(physical.bit_length() - 1, 0, physical, 0, 0, 1),
            *(_MAX_CLEAR // SECTOR, _MAX_CLEAR_SEGMENTS, sectors),
            *(_MAX_CLEAR // SECTOR, _MAX_CLEAR_SEGMENTS, 1),
        )

    def handle(self, queue: int, chain: Chain) -> int | Callable[[], int]:
        """Does one request, or returns a function that does the request."""
        if not chain.writable:
            raise DriverError("a request has no place for its status")
        *writable, last = chain.writable
        status = last[-1:]
        if len(last) > 1:
            writable.append(last[:-1])
        header, readable = split(chain.readable, _HEADER.size)
        kind, sector = _HEADER.unpack(header)
        disk, offset = self._disk, sector * SECTOR
        # The status byte counts as written only if all bytes before it were written. Only a read
        # and a GET_ID request write these bytes.
        written = -1 if writable else 0
        work: Callable[[], object]
        if kind == T_IN:
            written = sum(map(len, writable))
            if not self._fits(offset, written, _MAX_TRANSFER):
                return _answer(status, S_IOERR)
            if disk.try_read(writable, offset):
                return _answer(status, S_OK, written)
            work = partial(disk.read, writable, offset)
        elif kind == T_OUT:
            if disk.readonly or not self._fits(offset, sum(map(len, readable)), _MAX_TRANSFER):
                return _answer(status, S_IOERR)
            # A driver that never flushes expects each write to outlast a crash (5.2.6.2).
            durable = not self.driver_features & F_FLUSH
            if not durable and disk.try_write(readable, offset):
                return _answer(status, S_OK, written)
            work = partial(disk.write, readable, offset, durable=durable)
        elif kind == T_FLUSH:
            work = disk.flush
        elif kind == T_GET_ID:
            return self._identify(status, writable)
        elif kind in (T_DISCARD, T_WRITE_ZEROES):
            segments = self._segments(kind, readable)
            if isinstance(segments, int):
                return _answer(status, segments)
            work = partial(self._clear, kind, segments)
        else:
            return _answer(status, S_UNSUPP)
        return partial(_carry_out, work, status, written)

    def _fits(self, offset: int, size: int, most: int) -> bool:
        return offset + size <= self._disk.size and size <= most and not size % SECTOR

    def _identify(self, status: memoryview, writable: list[memoryview]) -> int:
        if sum(map(len, writable)) != ID_SIZE:
            return _answer(status, S_IOERR)
        name = os.path.basename(self._disk.name).encode("ascii", "replace")
        rest = name[:ID_SIZE].ljust(ID_SIZE, b"\0")
        for buffer in writable:
            buffer[:] = rest[: len(buffer)]
            rest = rest[len(buffer) :]
        return _answer(status, S_OK, ID_SIZE)

    def _segments(self, kind: int, readable: list[memoryview]) -> list[tuple[int, int, int]] | int:
        """Returns offset, size and flags of each range, or the status of a request that fails."""
        if not self.features & (F_DISCARD if kind == T_DISCARD else F_WRITE_ZEROES):
            return S_UNSUPP
        size = sum(map(len, readable))
        if size % _CLEAR.size or size > _MAX_CLEAR_SEGMENTS * _CLEAR.size:
            return S_IOERR
        segments = [
            (sector * SECTOR, sectors * SECTOR, flags)
            for sector, sectors, flags in _CLEAR.iter_unpack(b"".join(readable))
        ]
        known = 0 if kind == T_DISCARD else FLAG_UNMAP
        if any(flags & ~known for _, _, flags in segments):
            return S_UNSUPP
        if not all(self._fits(offset, size, _MAX_CLEAR) for offset, size, _ in segments):
            return S_IOERR
        return segments

    def _clear(self, kind: int, segments: list[tuple[int, int, int]]) -> None:
        for offset, size, flags in segments:
            if kind == T_DISCARD:
                self._disk.discard(offset, size)
            else:
                self._disk.write_zeroes(offset, size, unmap=bool(flags & FLAG_UNMAP))

    def close(self) -> None:
        """Closes the disk."""
        self._disk.close()


def _answer(status: memoryview, value: int, written: int = 0) -> int:
    """Writes the status of a request; returns how many bytes, from the first on, were written.

    For a failed request, that number is 0.
    """
    status[0] = value
    return written + 1 if value == S_OK else 0


def _carry_out(work: Callable[[], object], status: memoryview, written: int) -> int:
    try:
        work()
    except (OSError, EOFError):  # if the host's disk fails, the request fails
        return _answer(status, S_IOERR)
    return _answer(status, S_OK, written)
