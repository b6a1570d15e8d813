"""Reads and changes what an inode says of itself: attributes, extended attributes, links' targets.

A guest whose ringlet runs as root could otherwise leave programs on the host that give root's
rights to any user. So set-user-ID and set-group-ID bits, and extended attributes that carry
capabilities, are not set where the host would honour them.

Source: inode(7), xattr(7), capabilities(7), statvfs(3).
"""

from __future__ import annotations

import errno
import os
import stat
import time

from ringlet.virtio.fs import protocol
from ringlet.virtio.fs.protocol import (
    ATTRIBUTES_ANSWER,
    GETATTR_HANDLE,
    GETATTR_IN,
    GETXATTR_ANSWER,
    GETXATTR_IN,
    SETATTR_IN,
    SETXATTR_IN,
    STATFS_ANSWER,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.virtio.fs.handles import Handles
    from ringlet.virtio.fs.nodes import Node, Nodes
    from ringlet.virtio.fs.protocol import Request

_XATTR_MOST = 64 << 10  # bytes of an extended attribute (Linux, XATTR_SIZE_MAX)
_SET_ID = stat.S_ISUID | stat.S_ISGID


def get(nodes: Nodes, handles: Handles, request: Request) -> bytes:
    """GETATTR: returns an inode's attributes."""
    flags, _, number = GETATTR_IN.unpack_from(request.body)
    if flags & GETATTR_HANDLE:
        with handles.use(number) as handle:
            return _answer(nodes, os.fstat(handle.fd))
    return _answer(nodes, os.fstat(nodes.get(request.node).fd))


def change(nodes: Nodes, handles: Handles, request: Request) -> bytes:
    """SETATTR: changes what the request names, and returns all attributes."""
    valid, _, number, size, _, *rest = SETATTR_IN.unpack_from(request.body)
    atime, mtime, _, atime_ns, mtime_ns, _, mode, _, uid, gid, _ = rest
    node = nodes.get(request.node)
    kind = os.fstat(node.fd).st_mode
    if valid & (protocol.SET_UID | protocol.SET_GID):
        new_uid = nodes.host_id(uid) if valid & protocol.SET_UID else -1
        new_gid = nodes.host_id(gid, group=True) if valid & protocol.SET_GID else -1
        os.chown(node.path, new_uid, new_gid)
    if valid & protocol.SET_MODE:
        if stat.S_ISLNK(kind):
            raise OSError(errno.EOPNOTSUPP, "a link has no mode")
        os.chmod(node.path, allowed_mode(node, kind, mode))
    if valid & protocol.SET_SIZE:
        if not stat.S_ISREG(kind):
            raise OSError(errno.EINVAL, "only a file has a size to set")
        if valid & protocol.SET_HANDLE:
            with handles.use(number) as handle:
                os.ftruncate(handle.fd, size)
        else:
            os.truncate(node.path, size)
    if valid & (protocol.SET_ATIME | protocol.SET_MTIME):
        _set_times(node, valid, (atime, atime_ns), (mtime, mtime_ns))
    return _answer(nodes, os.fstat(node.fd))


def allowed_mode(node: Node, kind: int, mode: int) -> int:
    """Returns the permission bits of `mode` that the guest may give a node of this kind."""
    bits = stat.S_IMODE(mode)
    # statvfs follows the path to the inode, so it tells of the inode's own file system.
    if stat.S_ISREG(kind) and not os.statvfs(node.path).f_flag & os.ST_NOSUID:
        bits &= ~_SET_ID
    return bits


def _set_times(node: Node, valid: int, atime: tuple[int, int], mtime: tuple[int, int]) -> None:
    status, now = os.fstat(node.fd), time.time_ns()
    times = [status.st_atime_ns, status.st_mtime_ns]
    for index, (chosen, is_now, (seconds, nanoseconds)) in enumerate(
        (
            (protocol.SET_ATIME, protocol.SET_ATIME_NOW, atime),
            (protocol.SET_MTIME, protocol.SET_MTIME_NOW, mtime),
        )
    ):
        if valid & chosen:
            seconds -= (seconds >> 63) << 64  # a signed number
            times[index] = now if valid & is_now else seconds * 10**9 + nanoseconds
    os.utime(node.path, ns=(times[0], times[1]))


def _answer(nodes: Nodes, status: os.stat_result) -> bytes:
    return ATTRIBUTES_ANSWER.pack(nodes.lifetime, 0, 0) + nodes.attributes(status)


def read_link(nodes: Nodes, request: Request) -> bytes:
    """READLINK: returns the target, which the guest follows by itself."""
    return os.fsencode(os.readlink("", dir_fd=nodes.get(request.node).fd))


def statistics(nodes: Nodes, request: Request) -> bytes:
    """STATFS: returns the room of the file system."""
    found = os.statvfs(nodes.get(request.node).path)
    return STATFS_ANSWER.pack(
        *(found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree),
        *(found.f_bsize, found.f_namemax, found.f_frsize, 0),
    )


# Extended attributes. What the host's kernel or others act on is not the guest's to change.


def get_extended(nodes: Nodes, request: Request) -> bytes:
    """GETXATTR: returns a value, or its size if the guest asks for that."""
    size, _ = GETXATTR_IN.unpack_from(request.body)
    name = _name(request.body[GETXATTR_IN.size :])
    if not name.startswith(b"user.") and name != b"security.capability":
        raise OSError(errno.EOPNOTSUPP, "not for the guest")
    return _sized(os.getxattr(_path(nodes, request), name), size)


def list_extended(nodes: Nodes, request: Request) -> bytes:
    """LISTXATTR: returns the names, or their size if the guest asks for that."""
    size, _ = GETXATTR_IN.unpack_from(request.body)
    names = map(os.fsencode, os.listxattr(_path(nodes, request)))
    return _sized(b"".join(name + b"\0" for name in names if name.startswith(b"user.")), size)


def set_extended(nodes: Nodes, request: Request) -> bytes:
    """SETXATTR: sets a value."""
    size, flags = SETXATTR_IN.unpack_from(request.body)
    name, _, value = request.body[SETXATTR_IN.size :].partition(b"\0")
    if len(value) < size:
        raise OSError(errno.EINVAL, "the value is cut short")
    os.setxattr(_path(nodes, request), _users(name), value[:size], flags)
    return b""


def remove_extended(nodes: Nodes, request: Request) -> bytes:
    """REMOVEXATTR: removes a value."""
    os.removexattr(_path(nodes, request), _users(_name(request.body)))
    return b""


def _path(nodes: Nodes, request: Request) -> str:
    node = nodes.get(request.node)
    if not stat.S_ISREG(mode := os.fstat(node.fd).st_mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EOPNOTSUPP, "only files and folders have extended attributes")
    return node.path


def _users(name: bytes) -> bytes:
    if not name.startswith(b"user."):
        raise OSError(errno.EOPNOTSUPP, "not for the guest")
    return name


def _name(data: bytes) -> bytes:
    return data.partition(b"\0")[0]


def _sized(value: bytes, size: int) -> bytes:
    if size == 0:
        return GETXATTR_ANSWER.pack(len(value), 0)
    if len(value) > min(size, _XATTR_MOST):
        raise OSError(errno.ERANGE, "there is more")
    return value
