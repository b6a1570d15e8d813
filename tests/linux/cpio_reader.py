"""Reads an archive in the format "newc", strictly.

Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
"""

import io
import os
from typing import NamedTuple


class Read(NamedTuple):
    mode: int
    content: bytes
    device: tuple[int, int]


def read(archive: bytes) -> dict[str, Read]:
    """What is in it, in its order."""
    file = io.BytesIO(archive)
    found: dict[str, Read] = {}
    while True:
        header = file.read(110)
        assert header[:6] == b"070701"
        fields = [int(header[at : at + 8], 16) for at in range(6, 110, 8)]
        inode, mode, uid, gid, links, mtime, size, *device, major, minor, name_size, check = fields
        assert (uid, gid, links, mtime, check, device) == (0, 0, 1, 0, 0, [0, 0])
        name = file.read(name_size)
        assert name.endswith(b"\0")
        _skip(file)
        content = file.read(size)
        assert len(content) == size
        _skip(file)
        if name == b"TRAILER!!!\0":
            assert file.read() == b""
            return found
        assert inode == len(found) + 1
        found[os.fsdecode(name[:-1])] = Read(mode, content, (major, minor))


def _skip(file: io.BytesIO) -> None:
    padding = -file.tell() % 4
    assert file.read(padding) == bytes(padding)
