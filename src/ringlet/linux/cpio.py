"""Writes cpio archives in the format "newc", the format of an initramfs.

The same entries always make the same archive: the entries are sorted by name and numbered in that
order, root owns them, and their time is 0.

Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst; init/initramfs.c (names
and links of up to 4096 bytes; a folder comes before what is in it).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from ringlet.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_CHUNK = 1 << 20
_PATH_MAX = 4096  # with the zero byte
_SIZE_MAX = (1 << 32) - 1
_TRAILER = "TRAILER!!!"

# A file's bytes, or a function that opens the file.
Content = bytes | Callable[[], BinaryIO]


class Entry(NamedTuple):
    """A file of any type: `mode` as in `st_mode`, `device` the numbers of a device node.

    The content of a symbolic link is its target.
    """

    mode: int
    content: Content = b""
    device: tuple[int, int] = (0, 0)


FOLDER = Entry(stat.S_IFDIR | 0o755)


def link(target: str) -> Entry:
    """Returns a symbolic link to `target`."""
    return Entry(stat.S_IFLNK | 0o777, os.fsencode(target))


def write(out: BinaryIO, entries: Mapping[str, Entry]) -> None:
    """Writes an archive of `entries`, whose names are relative paths, and adds missing folders.

    Raises `ConfigError` for an entry that an archive can't hold.
    """
    entries = _with_folders(entries)
    number = 0
    for number, name in enumerate(sorted(entries, key=lambda name: name.split("/")), 1):
        entry = entries[name]
        if isinstance(entry.content, bytes):
            _header(out, number, name, entry, len(entry.content))
            out.write(entry.content)
            _pad(out, len(entry.content))
            continue
        with entry.content() as file:
            size = os.fstat(file.fileno()).st_size
            _header(out, number, name, entry, size)
            _copy(file, out, name, size)
            _pad(out, size)
    _header(out, 0, _TRAILER, Entry(0), 0)


def _with_folders(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Checks the names of `entries`, and returns the entries with each folder before its files."""
    found = dict(entries)
    for name, entry in entries.items():
        if name == _TRAILER or any(part in ("", ".", "..") for part in name.split("/")):
            raise ConfigError(f"an archive can't hold the name {name!r}", "rename it")
        target = entry.content if stat.S_ISLNK(entry.mode) else b""
        assert isinstance(target, bytes)
        for path in (os.fsencode(name), target):
            if b"\0" in path or len(path) >= _PATH_MAX:
                raise ConfigError(
                    f"an archive can't hold a path of {len(path)} bytes, or with a zero byte: "
                    f"{os.fsdecode(path[:40])!r}...",
                    "leave it out",
                )
        folder = name
        while folder := folder.rpartition("/")[0]:
            if not stat.S_ISDIR(found.setdefault(folder, FOLDER).mode):
                raise ConfigError(
                    f"{name} can't be put into {folder}, which isn't a folder",
                    "copy it to another place",
                )
    return found


def _header(out: BinaryIO, number: int, name: str, entry: Entry, size: int) -> None:
    if size > _SIZE_MAX:
        raise ConfigError(f"{name} has more than 4 GiB", "an archive can't hold it; leave it out")
    path = os.fsencode(name) + b"\0"
    # Inode, mode, uid, gid, links, time, size, the file's device, the node's device, the size of
    # the name, checksum.
    fields = (number, entry.mode, 0, 0, 1, 0, size, 0, 0, *entry.device, len(path), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + path
    out.write(header)
    _pad(out, len(header))


def _pad(out: BinaryIO, size: int) -> None:
    """Pads to a multiple of 4: the header with the name, and the content, each end at one."""
    out.write(bytes(-size % 4))


def _copy(file: BinaryIO, out: BinaryIO, name: str, size: int) -> None:
    while size:
        data = file.read(min(size, _CHUNK))
        if not data:
            raise ConfigError(f"{name} became shorter while it was read", "try again")
        out.write(data)
        size -= len(data)
