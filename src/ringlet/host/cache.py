"""Where this user's programs keep what they can make again.

Source: the XDG Base Directory Specification 0.8.
"""

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def cache_folder(name: str) -> str | None:
    """The path of ringlet's folder `name` in there; None for a user without a home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # to be ignored then, the specification says
        base = os.path.expanduser("~/.cache")
    return os.path.join(base, "ringlet", name) if os.path.isabs(base) else None


def open_entry(path: str) -> int | None:
    """The file at `path`, for reading; None if it isn't there, or not the user's alone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    status = os.fstat(fd)
    if _is_ours(status) and stat.S_ISREG(status.st_mode):
        return fd
    os.close(fd)
    return None


def keep(path: str, write: "Callable[[int], None]", most: int) -> None:
    """Makes the file at `path`, which `write` fills; of its folder's, the `most` youngest stay.

    Where the folder can't be had, or written, or isn't the user's alone, nothing is kept.
    """
    folder, name = os.path.split(path)
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        # By its descriptor from here on: root may have been given another user's home.
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if _is_ours(os.fstat(place)):
                _write(place, name, write)
                _evict(place, most)
        finally:
            os.close(place)
    except OSError:
        pass


def _write(folder: int, name: str, write: "Callable[[int], None]") -> None:
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
    """Leave those used last, temporary ones of a run that was killed among them."""
    files = sorted(os.scandir(folder), key=lambda entry: entry.stat().st_mtime_ns)
    for entry in files[:-most]:
        os.unlink(entry.name, dir_fd=folder)


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022
