"""Lists folders, with or without the attributes of what is in them.

A position in a list counts the entries before it, so the guest can't make ringlet hold a list.

Source: getdents(2); fuse.h (READDIR, READDIRPLUS).
"""

from __future__ import annotations

import os
import stat

from ringlet.closing import Closing
from ringlet.virtio.fs.protocol import (
    DIRENT,
    ENTRY,
    OPEN_ANSWER,
    READ_IN,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringlet.virtio.fs.handles import Handle, Handles
    from ringlet.virtio.fs.nodes import Nodes
    from ringlet.virtio.fs.protocol import Request

_DOTS = (b".", b"..")
_MOST = 256 << 10  # bytes of one answer
_NO_ENTRY = bytes(ENTRY.size + 88)  # the guest isn't told of a node


class _Reader(Closing):
    """Reads a folder from its start on; `position` counts the entries that were taken."""

    def __init__(self, fd: int) -> None:
        self._entries = os.scandir(fd)
        self.position = 0
        self._back: tuple[bytes, int, int] | None = None
        self._dots = iter(_DOTS)

    def take(self) -> tuple[bytes, int, int] | None:
        """Returns the next entry: name, inode and type; None at the end."""
        self.position += 1
        if self._back is not None:
            entry, self._back = self._back, None
            return entry
        for name in self._dots:
            return name, 0, stat.S_IFDIR >> 12
        for found in self._entries:
            return os.fsencode(found.name), found.inode(), _type(found)
        self.position -= 1
        return None

    def give_back(self, entry: tuple[bytes, int, int]) -> None:
        """Takes back the last entry."""
        self.position -= 1
        self._back = entry

    def close(self) -> None:
        """Ends the reading."""
        self._entries.close()


def _type(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return stat.S_IFLNK >> 12
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR >> 12
    return stat.S_IFREG >> 12 if entry.is_file(follow_symlinks=False) else 0


def open_folder(nodes: Nodes, handles: Handles, request: Request) -> bytes:
    """OPENDIR: returns a handle."""
    path = nodes.get(request.node).path
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return OPEN_ANSWER.pack(handles.add(fd), 0, 0)


def read(nodes: Nodes, handles: Handles, request: Request, room: int, *, plus: bool) -> bytes:
    """READDIR and READDIRPLUS: returns entries from a position on, as many as there is room for."""
    number, position, size, *_ = READ_IN.unpack_from(request.body)
    room = min(room, size, _MOST)
    answer = bytearray()
    with handles.use(number) as handle:
        reader = _at(handle, position)
        while (entry := reader.take()) is not None:
            name, inode, kind = entry
            padded = name + bytes(-len(name) % 8)
            needed = DIRENT.size + len(padded) + (len(_NO_ENTRY) if plus else 0)
            if len(answer) + needed > room:
                reader.give_back(entry)
                break
            if plus:
                answer += _entry(nodes, request.node, name)
            answer += DIRENT.pack(inode or 1, reader.position, len(name), kind) + padded
    return bytes(answer)


def _at(handle: Handle, position: int) -> _Reader:
    """Returns the folder's reader at a position; the folder is read again if that lies behind."""
    reader: _Reader | None = handle.reader
    if reader is None or reader.position > position:
        if reader is not None:
            reader.close()
        os.lseek(handle.fd, 0, os.SEEK_SET)
        reader = handle.reader = _Reader(handle.fd)
    for _ in _until(reader, position):
        pass
    return reader


def _until(reader: _Reader, position: int) -> Iterator[object]:
    while reader.position < position and (entry := reader.take()) is not None:
        yield entry


def _entry(nodes: Nodes, parent: int, name: bytes) -> bytes:
    if name in _DOTS:
        return _NO_ENTRY
    try:
        return nodes.look_up(parent, name)
    except OSError:  # it has gone meanwhile, or the guest remembers too much
        return _NO_ENTRY
