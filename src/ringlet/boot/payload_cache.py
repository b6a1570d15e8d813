"""A bzImage's payload, decompressed once and kept as a file of the user's cache.

Without a folder that is ours alone nothing is kept, and nothing that is found is trusted; neither
is an error.
"""

import os
import stat

from ringlet.board.layout import KIB, MIB
from ringlet.boot import elf
from ringlet.boot.bzimage import BzImage
from ringlet.boot.decompress import decompress, decompressed_size, write
from ringlet.boot.image import Image
from ringlet.errors import ImageError
from ringlet.host.cache import cache_folder

_KEEP = 8  # files, of some 60 MiB each
_SAMPLE = 64 * KIB
_COPY = 1 * MIB


def open_vmlinux(image: Image, kernel: BzImage) -> Image:
    """The vmlinux in the bzImage: from the cache, or decompressed and left there.

    Raises `ImageError` for a payload that can't be decompressed, or is no ELF.
    """
    payload = kernel.payload_offset, kernel.payload_size
    path = _path(image)
    if path is not None:
        size = decompressed_size(image, *payload)
        if (found := _find(path, size, f"{image.name}'s payload")) is not None:
            return found
    vmlinux = decompress(image, *payload, kernel.init_size)
    try:
        elf.parse(vmlinux)
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


def _find(path: str, size: int, name: str) -> Image | None:
    """The payload at `path`, if it is there, ours, and an ELF of `size` bytes."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    payload = Image(fd, name, size)
    try:
        status = os.fstat(fd)
        if _is_ours(status) and stat.S_ISREG(status.st_mode) and status.st_size == size:
            elf.parse(payload)
            os.utime(fd)  # used now: the others are to go first
            return payload
    except (OSError, ImageError):
        pass
    payload.close()
    return None


def _store(path: str, payload: Image) -> None:
    """Keep it, if the folder can be had and written; the oldest go."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}")
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        if not _is_ours(os.lstat(folder)):
            return
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            for offset in range(0, payload.size, _COPY):
                write(fd, payload.read(offset, min(_COPY, payload.size - offset)))
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        finally:
            os.close(fd)
        _evict(folder)
    except OSError:
        pass


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _evict(folder: str) -> None:
    """Leave the youngest, temporary ones of a run that was killed among them."""
    files = sorted(os.scandir(folder), key=lambda entry: entry.stat().st_mtime_ns)
    for entry in files[:-_KEEP]:
        os.unlink(entry)
