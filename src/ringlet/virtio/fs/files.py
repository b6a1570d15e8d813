"""Opens, reads and writes files.

Only regular files are opened: the guest's kernel itself opens a FIFO or a socket of the folder, and
a device would be one of the host.

Source: open(2), preadv2(2), fallocate(2), lseek(2); fuse.h.
"""

from __future__ import annotations

import errno
import os
import stat
from functools import partial

from ringlet.virtio.fs.names import only_name, owned
from ringlet.virtio.fs.protocol import (
    CREATE_IN,
    FALLOCATE_IN,
    FSYNC_DATA_ONLY,
    FSYNC_IN,
    LSEEK_ANSWER,
    LSEEK_IN,
    OPEN_ANSWER,
    OPEN_IN,
    READ_IN,
    RELEASE_IN,
    WRITE_ANSWER,
    WRITE_IN,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.virtio.fs.handles import Handles
    from ringlet.virtio.fs.nodes import Nodes
    from ringlet.virtio.fs.protocol import Request

# The flags of open(2) that are the guest's to choose. The guest's kernel does the rest by itself:
# it tells each write's place, so O_APPEND would only be in the way.
_CHOSEN = os.O_ACCMODE | os.O_TRUNC | os.O_SYNC | os.O_DSYNC
_ALWAYS = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_IOV_MAX = 1024


def open_file(nodes: Nodes, handles: Handles, request: Request) -> bytes:
    """OPEN: returns a handle."""
    flags, _ = OPEN_IN.unpack_from(request.body)
    return _opened(handles, _open(nodes.get(request.node).fd, flags))


def create(nodes: Nodes, handles: Handles, request: Request) -> bytes:
    """CREATE: makes a file and opens it, or opens the one that is there."""
    flags, mode, _, _ = CREATE_IN.unpack_from(request.body)
    name = only_name(request.body[CREATE_IN.size :])
    parent = nodes.get(request.node)
    exclusive = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        fd = os.open(
            name,
            flags & _CHOSEN & ~os.O_TRUNC | exclusive | _ALWAYS,
            stat.S_IMODE(mode) & 0o777,
            dir_fd=parent.fd,
        )
    except FileExistsError:
        if flags & os.O_EXCL:
            raise
        entry = nodes.look_up(request.node, name)
        number = int.from_bytes(entry[:8], "little")
        try:
            return entry + _opened(handles, _open(nodes.get(number).fd, flags))
        except OSError:
            nodes.forget(number, 1)
            raise
    try:
        inode = os.open(f"/proc/self/fd/{fd}", os.O_PATH | os.O_CLOEXEC)
        entry = owned(nodes, request, name, inode)
    except OSError:
        os.close(fd)
        raise
    return entry + _opened(handles, fd)


def _open(inode: int, flags: int) -> int:
    if not stat.S_ISREG(os.fstat(inode).st_mode):
        raise OSError(errno.EACCES, "not a regular file")
    return os.open(f"/proc/self/fd/{inode}", flags & _CHOSEN | _ALWAYS)


def _opened(handles: Handles, fd: int) -> bytes:
    return OPEN_ANSWER.pack(handles.add(fd), 0, 0)


def release(handles: Handles, request: Request) -> bytes:
    """RELEASE: closes a handle."""
    number, *_ = RELEASE_IN.unpack_from(request.body)
    handles.release(number)
    return b""


def read(handles: Handles, request: Request, buffers: list[memoryview]) -> int | Callable[[], int]:
    """READ: reads into guest memory; returns how many bytes, or a function that does it."""
    number, offset, size, *_ = READ_IN.unpack_from(request.body)
    places = _first(buffers, size)
    with handles.use(number) as handle:
        try:
            return os.preadv(handle.fd, places, offset, os.RWF_NOWAIT) if places else 0
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EOPNOTSUPP):
                raise
    return partial(_read, handles, number, places, offset)


def _read(handles: Handles, number: int, places: list[memoryview], offset: int) -> int:
    with handles.use(number) as handle:
        return os.preadv(handle.fd, places, offset)


def write(handles: Handles, request: Request, buffers: list[memoryview]) -> Callable[[], bytes]:
    """WRITE: returns a function that writes the data, and returns the answer."""
    number, offset, size, *_ = WRITE_IN.unpack_from(request.body)
    places = _first(buffers, size)
    if sum(map(len, places)) < size:
        raise OSError(errno.EINVAL, "there is less data than the request says")

    def do() -> bytes:
        with handles.use(number) as handle:
            return WRITE_ANSWER.pack(os.pwritev(handle.fd, places, offset) if places else 0, 0)

    return do


def sync(handles: Handles, request: Request) -> bytes:
    """FSYNC and FSYNCDIR: makes what was written outlast a crash of the host."""
    number, flags, _ = FSYNC_IN.unpack_from(request.body)
    with handles.use(number) as handle:
        if flags & FSYNC_DATA_ONLY:
            os.fdatasync(handle.fd)
        else:
            os.fsync(handle.fd)
    return b""


def allocate(handles: Handles, request: Request) -> bytes:
    """FALLOCATE: gives a file room. Other modes than that are refused."""
    number, offset, length, mode, _ = FALLOCATE_IN.unpack_from(request.body)
    if mode:
        raise OSError(errno.EOPNOTSUPP, "a mode of fallocate")
    if max(offset, length) >= 1 << 63:
        raise OSError(errno.EFBIG, "a file can't be that long")
    with handles.use(number) as handle:
        os.posix_fallocate(handle.fd, offset, length)
    return b""


def seek(handles: Handles, request: Request) -> bytes:
    """LSEEK: finds data or a hole."""
    number, offset, whence, _ = LSEEK_IN.unpack_from(request.body)
    if whence not in (os.SEEK_DATA, os.SEEK_HOLE) or offset >= 1 << 63:
        raise OSError(errno.EINVAL, "not a place to seek")
    with handles.use(number) as handle:
        return LSEEK_ANSWER.pack(os.lseek(handle.fd, offset, whence))


def _first(buffers: list[memoryview], size: int) -> list[memoryview]:
    """Returns the first `size` bytes of the buffers, as far as one call takes them."""
    places = []
    for buffer in buffers[:_IOV_MAX]:
        if size <= 0:
            break
        places.append(buffer[:size])
        size -= len(buffer)
    return places
