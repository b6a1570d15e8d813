"""The user that a container's command runs as, in the container and on the host.

Source: passwd(5), group(5), subuid(5), user_namespaces(7).
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from ringlet.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    _Mapping = list[dict[str, Any]]
    Ranges = tuple[_Mapping, _Mapping]  # the mapping of users, and that of groups
else:
    from ringlet.host.named_tuple import NamedTuple

RANGE = 1 << 16  # how many IDs a container gets: as many as its programs expect
_FIRST_FREE = 1 << 20  # where to look for a free range: above the ranges of users
_MAX_FILE = 1 << 20
MAX_ID = (1 << 32) - 2


class Identity(NamedTuple):
    """A user of the container."""

    uid: int
    gid: int
    groups: list[int]
    home: str


def find_user(rootfs: str, user: str) -> Identity:
    """Finds `USER[:GROUP]`, by names of the rootfs or by numbers. Raises `ConfigError`."""
    name, colon, group = user.partition(":")
    found = None
    for line in _records(rootfs, "passwd", 7):
        if _is(name, line):
            found = line
            break
    if found is None:
        identity = Identity(_number(name, "user"), 0, [], "/")
    else:
        identity = Identity(
            _number(found[2], "user"), _number(found[3], "group"), [], found[5] or "/"
        )
    groups = list(_records(rootfs, "group", 4))
    if colon:
        match = [line for line in groups if _is(group, line)]
        return identity._replace(gid=_number(match[0][2] if match else group, "group"))
    member = found[0] if found is not None else name
    more = [_number(line[2], "group") for line in groups if member in line[3].split(",")]
    return identity._replace(groups=[gid for gid in more if gid != identity.gid])


def _is(wanted: str, record: list[str]) -> bool:
    """Returns whether the record is wanted. A number is an ID, never a name (CVE-2016-3697)."""
    return wanted == record[2 if wanted.isdigit() else 0]


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 11 and int(text) <= MAX_ID):
        raise ConfigError(
            f"the rootfs knows no {what} {text!r}", "name one of its own, or give a number"
        )
    return int(text)


def _records(rootfs: str, name: str, fields: int) -> list[list[str]]:
    """Returns the records of a file in the image's /etc; follows no link in that path."""
    folder = -1
    file = -1
    try:
        folder = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(
            f"the rootfs {rootfs}: {error.strerror}",
            "name a folder with a system in it; `debootstrap stable FOLDER` makes one, and "
            "`ringlet run --help` says what else does",
        ) from None
    try:
        below = os.open("etc", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
                        dir_fd=folder)  # fmt: skip
        os.close(folder)
        folder = below
        # Opening a device can have an effect. So the file is checked first, and then the checked
        # file itself is opened.
        found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            if not stat.S_ISREG(os.fstat(found).st_mode):
                return []
            file = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(found)
        text = os.read(file, _MAX_FILE).decode("utf-8", "surrogateescape")
    except OSError:
        return []  # then only numbers can be used
    finally:
        os.close(folder)
        if file >= 0:
            os.close(file)
    # A zero byte ends a text of the kernel's: no name and no home has one.
    lines = (line.split(":") for line in text.split("\n") if "\0" not in line)
    return [line for line in lines if len(line) == fields]


def id_ranges() -> tuple[Ranges, list[str]]:
    """Returns the host's IDs for a container's users and groups, and notes of what is missing."""
    if os.geteuid() == 0:
        return (_map(0, _root_range("/etc/subuid")), _map(0, _root_range("/etc/subgid"))), []
    uid, gid = os.geteuid(), os.getegid()
    ranges = [_own_range(path, uid) for path in ("/etc/subuid", "/etc/subgid")]
    if None in ranges or not _has_newuidmap():
        note = (
            "the container has one user, root, who is you: others take a range of yours in "
            "/etc/subuid and /etc/subgid, and newuidmap (apt install uidmap)"
        )
        return (_map(uid, None), _map(gid, None)), [note]
    return (_map(uid, ranges[0]), _map(gid, ranges[1])), []


def one_user() -> tuple[Ranges, list[str]]:
    """Returns a mapping of the container's root to this user alone, who keeps all groups."""
    return (_map(os.geteuid(), None), _map(os.getegid(), None)), []


def _map(own: int, rest: tuple[int, int] | None) -> _Mapping:
    """Returns a mapping of root to `own`, unless that is the host's root, and then of `rest`."""
    mapping: _Mapping = []
    if own or rest is None:
        mapping.append({"containerID": 0, "hostID": own, "size": 1})
    if rest is not None:
        first, count = rest
        mapping.append({"containerID": len(mapping), "hostID": first, "size": count})
    return mapping


def _subordinate(path: str) -> list[tuple[str, int, int]]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.strip().split(":") for line in file.read(_MAX_FILE).splitlines()]
    except OSError:
        return []
    return [
        (name, int(first), int(count))
        for name, first, count in (line for line in lines if len(line) == 3)
        if first.isdigit() and count.isdigit() and 0 < int(first) + int(count) <= MAX_ID
    ]


def _root_range(path: str) -> tuple[int, int]:
    """Returns root's own range, or else the first free range: root may map any range."""
    entries = _subordinate(path)
    for name, first, count in entries:
        if name in ("root", "0") and count >= RANGE:
            return first, RANGE
    first = max([_FIRST_FREE, *(start + count for _, start, count in entries)])
    return first + -first % RANGE, RANGE


def _own_range(path: str, uid: int) -> tuple[int, int] | None:
    from pwd import getpwuid

    names = {str(uid)}
    with suppress(KeyError):
        names.add(getpwuid(uid).pw_name)
    for name, first, count in _subordinate(path):
        if name in names:
            return first, count
    return None


def _has_newuidmap() -> bool:
    from shutil import which

    return which("newuidmap") is not None and which("newgidmap") is not None
