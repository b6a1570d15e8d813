"""The driver's side of the block device: one request, from its header to its status."""

import random
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ringlet.host.disk import open_disk
from ringlet.virtio.block import F_FLUSH, Block
from ringlet.virtio.device import TRANSPORT_FEATURES

from .driver import WRITE, Queue
from .rig import Rig, rig

IN, OUT, FLUSH, GET_ID, GET_LIFETIME, DISCARD, WRITE_ZEROES, SECURE_ERASE = (
    0,
    1,
    4,
    8,
    10,
    11,
    13,
    14,
)
OK, IOERR, UNSUPP = 0, 1, 2
NONE = 0xEE  # no status was written
SECTOR = 512

SECTORS = 200
SIZE = SECTORS * SECTOR
CONTENT = random.Random(0).randbytes(SIZE)  # of an image

FEATURES = TRANSPORT_FEATURES | F_FLUSH

HEADER, STATUS, DATA = 0x8000, 0x8800, 0x1_0000  # where they are in guest memory


class DiskDriver:
    """Sends requests to the device of `rig`, each as (header)(data)(status)."""

    def __init__(self, rig: Rig, features: int = FEATURES, size: int = 128) -> None:
        self.rig = rig
        self.memory = rig.memory
        self.queue: Queue
        (self.queue,) = rig.start(features, size)
        self.written = 0  # as the used ring said of the last request

    def request(
        self,
        kind: int,
        sector: int = 0,
        data: Sequence[tuple[int, int, int]] = (),
        reserved: int = 0,
    ) -> int:
        """The status of a request with these buffers between header and status."""
        self.memory.write(HEADER, struct.pack("<IIQ", kind, reserved, sector))
        self.memory.write(STATUS, bytes((NONE,)))
        self.written = self.queue.request([(HEADER, 16, 0), *data, (STATUS, 1, WRITE)])
        return self.memory.read(STATUS, 1)[0]

    def read(self, sector: int, size: int) -> bytes | int:
        """What the disk has there, or the status of the failure."""
        self.memory.write(DATA, b"\xdd" * size)
        status = self.request(IN, sector, [(DATA, size, WRITE)])
        return status or self.memory.read(DATA, size)

    def write(self, sector: int, data: bytes) -> int:
        self.memory.write(DATA, data)
        return self.request(OUT, sector, [(DATA, len(data), 0)])

    def clear(self, kind: int, *segments: tuple[int, int, int]) -> int:
        """Discards or zeroes: of each segment the sector, the number of sectors, the flags."""
        data = b"".join(struct.pack("<QII", *segment) for segment in segments)
        self.memory.write(DATA, data)
        return self.request(kind, 0, [(DATA, len(data), 0)])


@contextmanager
def disk(
    path: Path, *, features: int = FEATURES, readonly: bool = False, snapshot: bool = False
) -> Iterator[DiskDriver]:
    device = Block(open_disk(path, readonly=readonly, snapshot=snapshot))
    with rig(device) as made:
        yield DiskDriver(made, features)
