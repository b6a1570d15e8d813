"""The user's cache folder, for files that a program can make again.

Ringlet uses a file from the cache as if it had just made the file. So only this user and root may
be able to change the file or a folder on its path. Under sudo, the path often begins in another
user's home.

Source: the XDG Base Directory Specification 0.8; path_resolution(7), open(2) (O_PATH).
"""

from __future__ import annotations

import errno
import os
import stat

from ringlet.host.named_file import is_ours_or_roots, keeps_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_LINKS_MAX = 40  # the kernel's own limit
_AS_IT_IS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def cache_folder(name: str) -> str | None:
    """Returns the path of ringlet's folder `name` in the cache; None for a user without a home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the specification says to ignore a relative path
        base = os.path.expanduser("~/.cache")
    return os.path.join(base, "ringlet", name) if os.path.isabs(base) else None


def check_folder(path: str) -> None:
    """Raises OSError if another user can change the folder; a missing folder is fine."""
    try:
        os.close(_open_folder(path, make=False))
    except FileNotFoundError:
        return


def open_entry(path: str) -> int | None:
    """Opens the file at `path` for reading; returns None if it is missing, or not safe to use.

    A file is safe to use if only this user can change it.
    """
    folder, name = os.path.split(path)
    try:
        place = _open_folder(folder, make=False)
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(name, flags, dir_fd=place)
        finally:
            os.close(place)
    except OSError:
        return None
    status = os.fstat(fd)
    if _is_ours(status) and stat.S_ISREG(status.st_mode):
        return fd
    os.close(fd)
    return None


def keep(path: str, write: Callable[[int], None], most: int) -> None:
    """Makes the file at `path` by calling `write`; keeps only the `most` newest in its folder.

    Keeps nothing if the folder can't be made or written, or if another user can change it.
    """
    folder, name = os.path.split(path)
    try:
        place = _open_folder(folder, make=True)
        try:
            _write(place, name, write)
            _evict(place, most)
        finally:
            os.close(place)
    except OSError:
        pass


def _open_folder(path: str, *, make: bool) -> int:
    """Opens the folder at the absolute `path`. Raises OSError if another user can change it.

    Each folder and each link on the path must belong to this user or to root. So no other user can
    make the path lead to another place, now or later. With `make`, missing folders are made.
    """
    place = os.open("/", _AS_IT_IS)
    names = path.split("/")[::-1]
    links = 0
    try:
        while names:
            if not keeps_names(os.fstat(place)):
                raise PermissionError(errno.EPERM, "others can write here", path)
            name = names.pop() or "."
            try:
                found = os.open(name, _AS_IT_IS, dir_fd=place)
            except FileNotFoundError:
                if not make:
                    raise
                os.mkdir(name, 0o700, dir_fd=place)
                found = os.open(name, _AS_IT_IS, dir_fd=place)
            status = os.fstat(found)
            if not stat.S_ISLNK(status.st_mode):
                os.close(place)
                place = found
                continue
            try:
                links += 1
                if links > _LINKS_MAX or not is_ours_or_roots(status):
                    raise PermissionError(errno.EPERM, "another user's link", path)
                target = os.readlink("", dir_fd=found)
            finally:
                os.close(found)
            names += target.split("/")[::-1]
            if target.startswith("/"):
                os.close(place)
                place = os.open("/", _AS_IT_IS)
        folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
    finally:
        os.close(place)
    if not _is_ours(os.fstat(folder)):
        os.close(folder)
        raise PermissionError(errno.EPERM, "not this user's alone", path)
    return folder


def _write(folder: int, name: str, write: Callable[[int], None]) -> None:
    temporary = f".{name}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=folder)
    try:
        write(fd)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(temporary, dir_fd=folder)
        raise
    finally:
        os.close(fd)


def _evict(folder: int, most: int) -> None:
    """Removes all but the `most` files used last.

    The files include temporary files that a killed run left.
    """
    files = sorted(os.scandir(folder), key=lambda entry: entry.stat().st_mtime_ns)
    for entry in files[:-most]:
        os.unlink(entry.name, dir_fd=folder)


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022
