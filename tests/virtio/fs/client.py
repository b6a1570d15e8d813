"""A FUSE client on a virtqueue: what a guest's kernel would send, or what it never would."""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ringlet.virtio.fs import protocol
from ringlet.virtio.fs.device import FileSystem

from ..driver import WRITE
from ..rig import Rig, rig

OUT, IN = 0x4_0000, 0x8_0000
ROOM = 0x2_0000  # bytes of an answer


class Entry(NamedTuple):
    node: int
    mode: int
    size: int
    links: int
    uid: int
    gid: int


class Client:
    """Sends one request at a time."""

    uid = gid = 0

    def __init__(self, made: Rig) -> None:
        self.made = made
        self.forgets, self.requests = made.start()
        self.number = 0
        self.call(protocol.INIT, 0, struct.pack("<4I48x", 7, 36, 1 << 17, 0xFFFF_FFFF))

    def raw(self, operation: int, node: int, *body: bytes) -> tuple[int, bytes]:
        """The error, or 0, and the data of the answer."""
        self.number += 1
        data = b"".join(body)
        header = protocol.REQUEST.pack(
            40 + len(data), operation, self.number, node, self.uid, self.gid, 1, 0
        )
        self.made.memory.write(OUT, header + data)
        written = self.requests.request([(OUT, 40 + len(data), 0), (IN, ROOM, WRITE)])
        answer = self.made.memory.read(IN, written)
        size, error, number = protocol.ANSWER.unpack_from(answer)
        assert (size, number) == (written, self.number)
        return -error, answer[16:]

    def call(self, operation: int, node: int, *body: bytes) -> bytes:
        """The data of the answer. Raises the OSError that the guest's program would get."""
        error, data = self.raw(operation, node, *body)
        if error:
            raise OSError(error, os.strerror(error))
        return data

    def forget(self, node: int, times: int) -> None:
        header = protocol.REQUEST.pack(48, protocol.FORGET, 0, node, 0, 0, 1, 0)
        self.made.memory.write(OUT, header + struct.pack("<Q", times))
        assert self.forgets.request([(OUT, 48, 0)]) == 0

    def lookup(self, name: bytes, parent: int = protocol.ROOT) -> Entry:
        return entry(self.call(protocol.LOOKUP, parent, name + b"\0"))

    def attributes(self, node: int) -> Entry:
        data = self.call(protocol.GETATTR, node, bytes(16))
        return Entry(node, *_of(data[16:]))

    def set(self, node: int, valid: int, *, size: int = 0, mode: int = 0, uid: int = 0) -> bytes:
        fields = (valid, 0, 0, size, 0, 0, 0, 0, 0, 0, 0, mode, 0, uid, 0, 0)
        return self.call(protocol.SETATTR, node, protocol.SETATTR_IN.pack(*fields))

    def create(
        self, name: bytes, parent: int = protocol.ROOT, flags: int = os.O_RDWR, mode: int = 0o644
    ) -> tuple[Entry, int]:
        body = protocol.CREATE_IN.pack(flags, mode, 0, 0)
        data = self.call(protocol.CREATE, parent, body, name + b"\0")
        return entry(data), struct.unpack_from("<Q", data, 128)[0]

    def open(self, node: int, flags: int = os.O_RDONLY) -> int:
        data = self.call(protocol.OPEN, node, protocol.OPEN_IN.pack(flags, 0))
        return int(struct.unpack_from("<Q", data)[0])

    def read(self, handle: int, size: int = 4096, offset: int = 0) -> bytes:
        body = protocol.READ_IN.pack(handle, offset, size, 0, 0, 0, 0)
        return self.call(protocol.READ, 0, body)

    def write(self, handle: int, data: bytes, offset: int = 0) -> int:
        body = protocol.WRITE_IN.pack(handle, offset, len(data), 0, 0, 0, 0)
        return int(struct.unpack_from("<I", self.call(protocol.WRITE, 0, body, data))[0])

    def release(self, handle: int) -> None:
        self.call(protocol.RELEASE, 0, protocol.RELEASE_IN.pack(handle, 0, 0, 0))

    def names(self, node: int = protocol.ROOT, size: int = 4096) -> list[bytes]:
        """The names in a folder, read in parts of `size` bytes."""
        data = self.call(protocol.OPENDIR, node, bytes(8))
        (handle,) = struct.unpack_from("<Q", data)
        found: list[bytes] = []
        position = 0
        while True:
            body = protocol.READ_IN.pack(handle, position, size, 0, 0, 0, 0)
            data = self.call(protocol.READDIR, node, body)
            if not data:
                break
            while data:
                _, position, length, _ = protocol.DIRENT.unpack_from(data)
                found.append(data[24 : 24 + length])
                data = data[24 + length + -length % 8 :]
        self.call(protocol.RELEASEDIR, node, protocol.RELEASE_IN.pack(handle, 0, 0, 0))
        return found


def entry(data: bytes) -> Entry:
    """The entry at the start of an answer."""
    return Entry(struct.unpack_from("<Q", data)[0], *_of(data[40:]))


def _of(data: bytes) -> tuple[int, int, int, int, int]:
    fields = protocol.ATTRIBUTES.unpack_from(data)
    return fields[9], fields[1], fields[10], fields[11], fields[12]


@contextmanager
def client(folder: Path, *, readonly: bool = False) -> Iterator[Client]:
    with rig(FileSystem(folder, "tag", readonly=readonly)) as made:
        yield Client(made)
