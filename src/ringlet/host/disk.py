"""Opens a disk of the host, an image or a block device, and says why a disk can't be used."""

from __future__ import annotations

import errno
import os
import stat

from ringlet.errors import ConfigError
from ringlet.host.image_lock import lock_image
from ringlet.host.raw_disk import RawDisk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.host.overlay import Overlay


def open_disk(
    path: str | os.PathLike[str], *, readonly: bool = False, snapshot: bool = False
) -> RawDisk | Overlay:
    """Opens an image or a block device; with `snapshot`, all writes are lost at the end.

    Raises `ConfigError` if the disk can't be used, or if another program uses it.
    """
    path = os.fspath(path)
    name = path if path.isprintable() else ascii(path)[1:-1]  # a message is one line
    if readonly and snapshot:
        raise ConfigError(
            f"{name} is to be readonly and a snapshot", "leave one out; a snapshot can be written"
        )
    readonly = readonly or snapshot
    try:
        # Check the kind of file first, because opening some files has an effect: a FIFO waits, a
        # tape rewinds, a watchdog starts.
        status = os.stat(path)
        _check_kind(name, status)
        flags = os.O_RDONLY if readonly else os.O_RDWR
        if stat.S_ISBLK(status.st_mode) and not readonly:
            flags |= os.O_EXCL  # fails if the device is mounted
        fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _not_opened(name, error, readonly) from error
    try:
        _check_kind(name, os.fstat(fd))  # the path may name another file by now
        os.set_blocking(fd, True)
        lock_image(fd, name, readonly=readonly)
        disk = RawDisk(fd, name, readonly=readonly)
        _check_size(disk)
        if not snapshot:
            return disk
        from ringlet.host.overlay import Overlay

        return Overlay(disk)
    except OSError as error:
        os.close(fd)
        raise _not_opened(name, error, readonly) from error
    except BaseException:
        os.close(fd)
        raise


def _check_kind(name: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"{name} is a directory", "name the image in it")
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISBLK(status.st_mode):
        raise ConfigError(f"{name} is neither a file nor a block device", "name one that is")


def _check_size(disk: RawDisk) -> None:
    if not disk.size:
        raise ConfigError(
            f"{disk.name} is empty", f"give it the size of a disk: truncate -s 1G {disk.name}"
        )
    if disk.size % disk.block_size:
        raise ConfigError(
            f"{disk.name} has {disk.size} bytes, which is no multiple of {disk.block_size}",
            f"fill it up with zeros: truncate -s %{disk.block_size} {disk.name}",
        )


def _not_opened(name: str, error: OSError | ValueError, readonly: bool) -> ConfigError:
    code = error.errno if isinstance(error, OSError) else errno.EINVAL  # a NUL in the path
    if code in (errno.ENOENT, errno.ENOTDIR):
        return ConfigError(
            f"there is no disk {name}", f"check the path, or make it: truncate -s 1G {name}"
        )
    if code in (errno.EACCES, errno.EPERM) and readonly:
        return ConfigError(f"{name} may not be read", "give yourself the right to: chmod +r")
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ConfigError(
            f"{name} may not be written: {os.strerror(code)}",
            "make it readonly or a snapshot, or give yourself the right to: chmod +w",
        )
    if code == errno.EBUSY:
        return ConfigError(
            f"{name} is mounted, or in use by another program", "`lsblk` and `fuser -v` show it"
        )
    return ConfigError(f"{name} can't be opened: {os.strerror(code or 0)}", "check the path")
