"""A bzImage's payload, decompressed once and kept as a file of the user's cache.

Without a folder that is ours alone nothing is kept, and nothing that is found is trusted; neither
is an error.
"""

from __future__ import annotations

import os

from ringlet.board.layout import KIB, MIB
from ringlet.boot import elf
from ringlet.boot.decompress import decompress, decompressed_size, write
from ringlet.boot.image import Image
from ringlet.errors import ImageError
from ringlet.host.cache import cache_folder, keep, open_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.boot.bzimage import BzImage

_KEEP = 8  # files, of some 60 MiB each
_SAMPLE = 64 * KIB
_COPY = 1 * MIB


def open_vmlinux(
    image: Image, kernel: BzImage, judge: Callable[[Image], object] = elf.parse
) -> Image:
    """The vmlinux in the bzImage: from the cache, or decompressed and left there.

    `judge` raises `ImageError` for one that can't be booted: that one is neither taken from the
    cache nor left there. Raises `ImageError` for that, too, and for a payload that can't be
    decompressed.
    """
    payload = kernel.payload_offset, kernel.payload_size
    path = _path(image)
    if path is not None:
        size = decompressed_size(image, *payload)
        if (found := _find(path, size, f"{image.name}'s payload", judge)) is not None:
            return found
    vmlinux = decompress(image, *payload, kernel.init_size)
    try:
        judge(vmlinux)
        if path is not None:
            _store(path, vmlinux)
    except BaseException:
        vmlinux.close()
        raise
    return vmlinux


def _path(image: Image) -> str | None:
    """Where it is kept, by what the file holds, the same through every mount; None for nowhere.

    Device and inode differ between mounts, and to read all of a kernel takes as long as to
    load one; its first and last bytes hold its version, build time and checksum. All of that can
    be forged, to have a later boot of another kernel find this one, but for the time of the last
    change, which the host sets.
    """
    from hashlib import blake2b

    folder = cache_folder("kernels")
    status = os.fstat(image.fileno())
    if folder is None or status.st_nlink == 0:  # bytes in memory, which nobody meets again
        return None
    size = min(image.size, _SAMPLE)
    digest = blake2b(
        f"{image.size} {status.st_mtime_ns} {status.st_ctime_ns}".encode(), digest_size=16
    )
    digest.update(image.read(0, size))
    digest.update(image.read(image.size - size, size))
    return os.path.join(folder, digest.hexdigest())


def _find(path: str, size: int, name: str, judge: Callable[[Image], object]) -> Image | None:
    """The payload at `path`, if it is there, ours, of `size` bytes, and passes."""
    fd = open_entry(path)
    if fd is None:
        return None
    payload = Image(fd, name, size)
    try:
        if os.fstat(fd).st_size == size:
            judge(payload)
            os.utime(fd)  # used now: the others are to go first
            return payload
    except (OSError, ImageError):
        pass
    except BaseException:
        payload.close()
        raise
    payload.close()
    return None


def _store(path: str, payload: Image) -> None:
    def copy(fd: int) -> None:
        for offset in range(0, payload.size, _COPY):
            write(fd, payload.read(offset, min(_COPY, payload.size - offset)))

    keep(path, copy, _KEEP)
