"""Keeps the decompressed payload of a bzImage as a file in the user's cache.

If the cache folder doesn't belong to this user alone, this file keeps nothing and uses no file
from the folder. That isn't an error.
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
    """Returns the vmlinux in the bzImage, from the cache or by decompressing the payload.

    `judge` raises `ImageError` for a vmlinux that can't be booted. `open_vmlinux` doesn't take such
    a vmlinux from the cache, and doesn't put it there. Raises `ImageError` for such a vmlinux, and
    for a payload that can't be decompressed.
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
    """Returns the path of the payload in the cache; None if it can't be kept.

    The path is a hash of the image's size, times, first bytes and last bytes. Device and inode
    number would differ between mounts, and to read a whole kernel takes as long as to load it. The
    first and last bytes hold the kernel's version, build time and checksum. An attacker who wants
    ringlet to boot a wrong payload can forge all of these, but not the time of the last change
    (st_ctime), which the host sets.
    """
    from hashlib import blake2b

    folder = cache_folder("kernels")
    status = os.fstat(image.fileno())
    if folder is None or status.st_nlink == 0:  # an image in memory, which isn't used again
        return None
    size = min(image.size, _SAMPLE)
    digest = blake2b(
        f"{image.size} {status.st_mtime_ns} {status.st_ctime_ns}".encode(), digest_size=16
    )
    digest.update(image.read(0, size))
    digest.update(image.read(image.size - size, size))
    return os.path.join(folder, digest.hexdigest())


def _find(path: str, size: int, name: str, judge: Callable[[Image], object]) -> Image | None:
    """Returns the payload at `path`, or None.

    Returns None if the file is missing, belongs to another user, doesn't have `size` bytes, or
    doesn't pass `judge`.
    """
    fd = open_entry(path)
    if fd is None:
        return None
    payload = Image(fd, name, size)
    try:
        if os.fstat(fd).st_size == size:
            judge(payload)
            os.utime(fd)  # mark this file as used now, so that the cache drops older files first
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
