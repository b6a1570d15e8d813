"""Reads, writes and walks files and folders of cgroups, with few system calls.

Source: the kernel's admin-guide/cgroup-v2.rst, "Conventions".
"""

from __future__ import annotations

import errno
import os

from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LARGEST = 1 << 20  # bytes: more than the kernel writes into any of these files
_SHOWN = 60  # how many characters of a value a message shows
_HINTS = {
    errno.EACCES: "run as root, or in a cgroup that was delegated to you",
    errno.EPERM: "run as root, or in a cgroup delegated to you, whose parents allow as much",
    errno.EROFS: "mount the cgroup file system writable",
    errno.ENOENT: "this kernel doesn't have that file: leave the limit out",
    errno.E2BIG: "a cgroup's file takes a line of a few thousand characters",
    errno.EBUSY: "more than that is in use: set a larger limit, or use less",
    errno.EINVAL: "the kernel doesn't accept this value, or not below what the parents allow",
    errno.ENODEV: "there is no such device on this host",
    errno.EOPNOTSUPP: "the kernel doesn't support this: leave the limit out",
}


class CgroupError(RingletError):
    """The error for a cgroup that could not be made, or a limit that could not be set.

    `errno` is the kernel's reason, or 0 if it wasn't the kernel that refused.
    """

    def __init__(self, message: str, hint: str, errno: int = 0) -> None:
        super().__init__(message, hint)
        self.errno = errno


def refused(what: str, error: OSError) -> CgroupError:
    """Returns the error for an action that the kernel refused."""
    number = error.errno or 0
    hint = _HINTS.get(number, "see the kernel's admin-guide on cgroups")
    return CgroupError(f"{what}: {error.strerror}", hint, number)


def write(folder: str, name: str, *values: str) -> None:
    """Writes each of the values to a file of a cgroup. Raises `CgroupError`."""
    try:
        fd = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise refused(f"{folder}/{name} can't be set", error) from error
    value = ""
    try:
        for value in values:
            os.write(fd, value.encode())
    except OSError as error:
        shown = value if len(value) <= _SHOWN else value[:_SHOWN] + "..."
        raise refused(f"{folder}/{name} can't be set to {shown!r}", error) from error
    finally:
        os.close(fd)


def write_all(folder: str, writes: Iterable[tuple[str, str]]) -> None:
    """Sets files whose values limit each other, such as a quota and its burst.

    A value that the kernel finds invalid beside another file's value is tried again after the other
    file is set. Raises `CgroupError`.
    """
    left = list(writes)
    while left:
        invalid = []
        for name, value in left:
            try:
                write(folder, name, value)
            except CgroupError as error:
                if error.errno != errno.EINVAL:
                    raise
                invalid.append((name, value))
                why = error
        if len(invalid) == len(left):
            raise why
        left = invalid


def read(folder: str, name: str, *, at: int | None = None) -> str | None:
    """Returns the text of a cgroup's file; None if this kernel or this cgroup has no such file.

    Raises `CgroupError` if the file can't be read.
    """
    try:
        fd = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=at)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
            return None
        raise refused(f"{folder}/{name} can't be read", error) from error
    try:
        text = data = os.read(fd, 4096)
        while data and len(text) < _LARGEST:  # a short read isn't the end of the file
            data = os.read(fd, _LARGEST)
            text += data
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.EOPNOTSUPP):  # a removed cgroup; a threaded one
            return None
        raise refused(f"{folder}/{name} can't be read", error) from error
    finally:
        os.close(fd)
    return text.decode(errors="replace")


def is_frozen(folder: str) -> bool:
    """Returns whether a process that joins would stop: this cgroup, or one above it, is frozen."""
    return (
        (read(folder, "freezer.state") or "THAWED").strip() != "THAWED"
        or (read(folder, "cgroup.freeze") or "0").strip() != "0"
        or keyed(read(folder, "cgroup.events")).get("frozen") == 1
    )


def keyed(text: str | None) -> dict[str, int]:
    """Parses lines of the form `key number`; leaves out other lines."""
    found = {}
    for line in (text or "").splitlines():
        key, _, number = line.partition(" ")
        if number.isdecimal():
            found[key] = int(number)
    return found


def below(folder: str) -> Iterator[tuple[int, str]]:
    """Yields every cgroup below `folder`, the innermost first: its open parent folder and its name.

    The container may have made these cgroups, at any depth: so no full path of them is ever used.
    """
    try:
        here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        unseen = [_children(here)]
        names: list[str] = []
        while True:
            if unseen[-1]:
                name = unseen[-1].pop()
                try:
                    there = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
                except FileNotFoundError:
                    continue
                names.append(name)
                unseen.append(_children(there))
            elif names:
                try:
                    there = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
                except FileNotFoundError:  # removed, and so are all cgroups that were seen
                    return
                unseen.pop()
            else:
                return
            os.close(here)
            here = there
            if len(unseen) == len(names):  # this is the parent folder again
                yield here, names.pop()
    finally:
        os.close(here)


def _children(fd: int) -> list[str]:
    try:
        with os.scandir(fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:  # the folder has been removed meanwhile
        return []
