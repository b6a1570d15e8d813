"""Makes, moves and removes names in folders.

Source: mknod(2), mkdir(2), symlink(2), link(2), rename(2), unlink(2); fuse.h.
"""

from __future__ import annotations

import errno
import os
import stat

from ringlet.virtio.fs.nodes import check_name
from ringlet.virtio.fs.protocol import (
    LINK_IN,
    MKDIR_IN,
    MKNOD_IN,
    RENAME2_IN,
    RENAME_IN,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.virtio.fs.nodes import Nodes
    from ringlet.virtio.fs.protocol import Request

_PATH_MAX = 4096


def look_up(nodes: Nodes, request: Request) -> bytes:
    """LOOKUP: returns the entry of a name."""
    (name,) = _texts(request.body, 1)
    return nodes.look_up(request.node, name)


def make_node(nodes: Nodes, request: Request) -> bytes:
    """MKNOD: makes a file, a FIFO or a socket. A device would be one of the host."""
    mode, *_ = MKNOD_IN.unpack_from(request.body)
    (name,) = _names(request.body[MKNOD_IN.size :], 1)
    if stat.S_IFMT(mode) not in (stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK):
        raise OSError(errno.EPERM, "no devices")
    parent = nodes.get(request.node)
    os.mknod(name, stat.S_IFMT(mode) | stat.S_IMODE(mode) & 0o777, dir_fd=parent.fd)
    return made(nodes, request, name)


def make_folder(nodes: Nodes, request: Request) -> bytes:
    """MKDIR: makes a folder."""
    mode, _ = MKDIR_IN.unpack_from(request.body)
    (name,) = _names(request.body[MKDIR_IN.size :], 1)
    os.mkdir(name, stat.S_IMODE(mode) & 0o1777, dir_fd=nodes.get(request.node).fd)
    return made(nodes, request, name)


def make_link(nodes: Nodes, request: Request) -> bytes:
    """SYMLINK: makes a link, which only the guest follows."""
    name, target = _texts(request.body, 2)
    check_name(name)
    if not 0 < len(target) < _PATH_MAX:
        raise OSError(errno.ENOENT, "a link to nowhere")
    os.symlink(target, name, dir_fd=nodes.get(request.node).fd)
    return made(nodes, request, name)


def made(nodes: Nodes, request: Request, name: bytes) -> bytes:
    """Returns the entry of what the request has made, which becomes the guest's user's.

    Another user of the folder may have put another inode's name in its place meanwhile.
    """
    parent = nodes.get(request.node)
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent.fd)
    status = os.fstat(fd)
    if status.st_nlink != 1 and not stat.S_ISDIR(status.st_mode):
        os.close(fd)
        raise OSError(errno.EAGAIN, "another inode has the name")
    return owned(nodes, request, name, fd)


def owned(nodes: Nodes, request: Request, name: bytes, fd: int) -> bytes:
    """Gives the inode of `fd`, by O_PATH, to the guest's user, and returns its entry."""
    try:
        parent = nodes.get(request.node)
        nodes.own(f"/proc/self/fd/{fd}", request.uid, request.gid, parent=parent)
    except OSError:
        os.close(fd)
        raise
    return nodes.add(fd, request.node, name)


def link(nodes: Nodes, request: Request) -> bytes:
    """LINK: gives an inode one more name."""
    (number,) = LINK_IN.unpack_from(request.body)
    (name,) = _names(request.body[LINK_IN.size :], 1)
    node, parent = nodes.get(number), nodes.get(request.node)
    os.link(node.path, name, dst_dir_fd=parent.fd, follow_symlinks=True)
    return nodes.look_up(request.node, name)


def remove(nodes: Nodes, request: Request) -> bytes:
    """UNLINK: removes a name that isn't a folder's."""
    (name,) = _names(request.body, 1)
    os.unlink(name, dir_fd=nodes.get(request.node).fd)
    return b""


def remove_folder(nodes: Nodes, request: Request) -> bytes:
    """RMDIR: removes an empty folder."""
    (name,) = _names(request.body, 1)
    os.rmdir(name, dir_fd=nodes.get(request.node).fd)
    return b""


def rename(nodes: Nodes, request: Request) -> bytes:
    """RENAME: moves a name; what had the new name is gone."""
    (number,) = RENAME_IN.unpack_from(request.body)
    _rename(nodes, request.node, number, request.body[RENAME_IN.size :])
    return b""


def rename_with_flags(nodes: Nodes, request: Request) -> bytes:
    """RENAME2: as RENAME; programs do without its flags where it refuses them (rename(2))."""
    number, flags, _ = RENAME2_IN.unpack_from(request.body)
    if flags:
        raise OSError(errno.EINVAL, "flags of a rename")
    _rename(nodes, request.node, number, request.body[RENAME2_IN.size :])
    return b""


def _rename(nodes: Nodes, old_parent: int, new_parent: int, names: bytes) -> None:
    old, new = _names(names, 2)
    source, target = nodes.get(old_parent), nodes.get(new_parent)
    os.rename(old, new, src_dir_fd=source.fd, dst_dir_fd=target.fd)
    nodes.moved(new_parent, new)


def only_name(data: bytes) -> bytes:
    """Returns the one name in `data`. Raises OSError for what isn't a name."""
    return _names(data, 1)[0]


def _names(data: bytes, count: int) -> list[bytes]:
    names = _texts(data, count)
    for name in names:
        check_name(name)
    return names


def _texts(data: bytes, count: int) -> list[bytes]:
    """Returns the texts in `data`, each of which ends with a zero byte."""
    texts = data.split(b"\0")
    if len(texts) < count + 1:
        raise OSError(errno.EINVAL, "a name is missing")
    return texts[:count]
