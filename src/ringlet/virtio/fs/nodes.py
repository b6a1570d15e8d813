"""The inodes that the guest remembers.

An inode that is in use has a descriptor by O_PATH, which names the inode whatever happens to its
names meanwhile, and allows neither reading nor writing. The guest's names are one component each
and are looked up from such a descriptor without following a link, so no name leads out of the
folder. A guest may remember more inodes than ringlet has descriptors. So the ones that were not in
use for longest lose theirs, and get it again by their last known name, if it is the same inode.

Source: open(2), O_PATH and O_NOFOLLOW; Linux, include/uapi/linux/fuse.h (FORGET).
"""

from __future__ import annotations

import errno
import os

from ringlet.closing import Closing
from ringlet.virtio.fs.protocol import ENTRY, ROOT, attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAME_MAX = 255
_MOST = 1 << 18  # inodes that a guest remembers
_DEEPEST = 2048  # folders in each other: Linux's longest path has as many


class Node:
    """An inode: its descriptor or -1, and how often the guest was told of the inode.

    `parent` and `name` are those of its last known name.
    """

    __slots__ = ("fd", "key", "lookups", "name", "parent")

    def __init__(self, fd: int, key: tuple[int, int], parent: int, name: bytes) -> None:
        self.fd = fd
        self.key = key
        self.parent = parent
        self.name = name
        self.lookups = 0

    @property
    def path(self) -> str:
        """A path of the inode itself, for calls that take no descriptor by O_PATH."""
        return f"/proc/self/fd/{self.fd}"


class Nodes(Closing):
    """The inodes of the folder `path`, at most `most`. Raises OSError.

    limit     at most so many descriptors
    lifetime  seconds for which the guest may believe a name and its attributes
    """

    def __init__(
        self, path: str | os.PathLike[str], limit: int, lifetime: int, most: int = _MOST
    ) -> None:
        self.lifetime = lifetime
        self._limit = limit
        self._most = most
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        status = os.fstat(fd)
        self._root = Node(fd, (status.st_dev, status.st_ino), 0, b"")
        self._next = ROOT + 1
        self._clear()
        # The ids of our own that stand for root's: without root's rights, there is one user.
        self._squashed = os.geteuid() != 0
        self._uid, self._gid = os.geteuid(), os.getegid()

    def _clear(self) -> None:
        self._by_number = {ROOT: self._root}
        self._numbers = {self._root.key: ROOT}
        self._open: dict[int, Node] = {}  # but the root; what was in use last is last

    def forget_all(self) -> None:
        """Forgets every node but the root."""
        for node in self._open.values():
            os.close(node.fd)
        self._clear()

    def close(self) -> None:
        """Closes all descriptors. A second call does nothing."""
        if self._root.fd >= 0:
            self.forget_all()
            os.close(self._root.fd)
            self._root.fd = -1

    def get(self, number: int) -> Node:
        """Returns a node by its number. Raises OSError (ESTALE) if the guest never got it."""
        node = self._by_number.get(number)
        if node is None:
            raise OSError(errno.ESTALE, "no such node")
        if number != ROOT:
            if node.fd < 0:
                self._reopen(node)
            self._open.pop(number, None)
            self._hold(number, node)
        return node

    def _reopen(self, node: Node) -> None:
        parents = [node]  # up to one that is open
        while parents[-1].fd < 0:
            above = self._by_number.get(parents[-1].parent)
            if above is None or len(parents) > _DEEPEST:
                raise OSError(errno.ESTALE, "an inode whose name is not known any more")
            parents.append(above)
        above = parents.pop()
        for below in reversed(parents):
            below.fd = _open_again(above, below)
            self._hold(self._numbers[below.key], below)
            above = below

    def _hold(self, number: int, node: Node) -> None:
        """Notes that the node is in use and open; closes what was in use longest ago."""
        self._open[number] = node
        while len(self._open) > self._limit:
            oldest = self._open.pop(next(iter(self._open)))
            os.close(oldest.fd)
            oldest.fd = -1

    def look_up(self, parent: int, name: bytes) -> bytes:
        """Returns the entry of a name in a folder, of which the guest is told by that."""
        check_name(name)
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.get(parent).fd)
        return self.add(fd, parent, name)

    def add(self, fd: int, parent: int, name: bytes) -> bytes:
        """Takes over a descriptor by O_PATH; returns the entry of its inode, whose name this is."""
        try:
            status = os.fstat(fd)
            key = status.st_dev, status.st_ino
            number = self._numbers.get(key)
            if number is None and len(self._by_number) >= self._most:
                raise OSError(errno.ENFILE, "the guest remembers too much")
        except OSError:
            os.close(fd)
            raise
        if number is None:
            number, self._next = self._next, self._next + 1
            self._by_number[number] = Node(fd, key, parent, name)
            self._numbers[key] = number
            self._hold(number, self._by_number[number])
        elif number == ROOT or self._by_number[number].fd >= 0:
            os.close(fd)
        else:
            self._by_number[number].fd = fd
            self._hold(number, self._by_number[number])
        node = self._by_number[number]
        node.lookups += 1
        if number != ROOT:
            node.parent, node.name = parent, name
        times = self.lifetime, self.lifetime, 0, 0
        return ENTRY.pack(number, 0, *times) + self.attributes(status)

    def forget(self, number: int, lookups: int) -> None:
        """Notes that the guest has forgotten the node so many times."""
        node = self._by_number.get(number)
        if node is None or number == ROOT:
            return
        node.lookups -= lookups
        if node.lookups <= 0:
            del self._by_number[number]
            del self._numbers[node.key]
            if self._open.pop(number, None) is not None:
                os.close(node.fd)

    def moved(self, parent: int, name: bytes) -> None:
        """Notes that an inode has a new name."""
        status = os.stat(name, dir_fd=self.get(parent).fd, follow_symlinks=False)
        number = self._numbers.get((status.st_dev, status.st_ino))
        if number is not None and number != ROOT:
            node = self._by_number[number]
            node.parent, node.name = parent, name

    def attributes(self, status: os.stat_result) -> bytes:
        """Returns the attributes that the guest sees.

        Where ringlet isn't root, files of its own user are root's in the guest.
        """
        uid, gid = status.st_uid, status.st_gid
        if self._squashed:
            uid, gid = 0 if uid == self._uid else uid, 0 if gid == self._gid else gid
        return attributes(status, uid, gid)

    def host_id(self, number: int, *, group: bool = False) -> int:
        """Returns the host's id for an id of the guest."""
        if self._squashed and number == 0:
            return self._gid if group else self._uid
        return number

    def own(self, path: str, uid: int, gid: int, *, parent: Node) -> None:
        """Gives what the guest has made to the guest's user, as far as ringlet may.

        In a folder with the set-group-ID bit, the folder's group stays (inode(7)).
        """
        if self._squashed:
            return
        inherits = os.fstat(parent.fd).st_mode & 0o2000
        if uid != self._uid or (gid != self._gid and not inherits):
            os.chown(path, uid, -1 if inherits else gid, follow_symlinks=True)

    @property
    def state(self) -> dict[str, Any]:
        """How many inodes the guest remembers, and how many of them are open."""
        return {"nodes": len(self._by_number), "open": len(self._open) + 1}


def _open_again(parent: Node, node: Node) -> int:
    fd = os.open(node.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent.fd)
    status = os.fstat(fd)
    if (status.st_dev, status.st_ino) != node.key:
        os.close(fd)
        raise OSError(errno.ESTALE, "another inode has the name")
    return fd


def check_name(name: bytes) -> None:
    """Raises OSError for a name that isn't one component."""
    if len(name) > _NAME_MAX:
        raise OSError(errno.ENAMETOOLONG, "a name is too long")
    if not name or b"/" in name or b"\0" in name or name in (b".", b".."):
        raise OSError(errno.EINVAL, "not a name")
