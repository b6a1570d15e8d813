"""Answers FUSE requests about one folder. Source: Linux, include/uapi/linux/fuse.h."""

from __future__ import annotations

import errno
import os

from ringlet.closing import Closing
from ringlet.virtio.fs import attributes, files, folders, names, protocol
from ringlet.virtio.fs.handles import Handles
from ringlet.virtio.fs.nodes import Nodes
from ringlet.virtio.fs.protocol import (
    BATCH_FORGET_IN,
    FORGET_IN,
    FORGET_ONE,
    INIT_ANSWER,
    INIT_IN,
    OPEN_IN,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ringlet.virtio.fs.protocol import Request

MOST = 1 << 20  # bytes of data in one request
_PAGE = 4096
_FLAGS = (
    protocol.ASYNC_READ
    | protocol.ATOMIC_O_TRUNC
    | protocol.BIG_WRITES
    | protocol.AUTO_INVAL_DATA
    | protocol.DO_READDIRPLUS
    | protocol.READDIRPLUS_AUTO
    | protocol.PARALLEL_DIROPS
    | protocol.MAX_PAGES
)
_WRITING = frozenset(
    (
        *(protocol.SETATTR, protocol.SYMLINK, protocol.MKNOD, protocol.MKDIR, protocol.UNLINK),
        *(protocol.RMDIR, protocol.RENAME, protocol.LINK, protocol.WRITE, protocol.SETXATTR),
        *(protocol.REMOVEXATTR, protocol.CREATE, protocol.FALLOCATE, protocol.RENAME2),
    )
)

# An answer, or a function that may have to wait for the host and then returns the answer. A number
# is the answer to a read: so many bytes are in the guest's memory already.
Answer = bytes | int


class Server(Closing):
    """The server of the folder `path`. Raises OSError if the folder can't be opened.

    readonly  whether the guest changes nothing
    limit     how many inodes the guest may remember, and how many files it may have open
    lifetime  seconds for which the guest may believe what it was told; 0: the host's changes count
              at once
    """

    def __init__(
        self, path: str | os.PathLike[str], *, readonly: bool, limit: int, lifetime: int
    ) -> None:
        self._readonly = readonly
        self._nodes = Nodes(path, limit, lifetime)
        self._handles = Handles(limit)
        nodes, handles = self._nodes, self._handles
        on_nodes: dict[int, Callable[[Nodes, Request], bytes]] = {
            protocol.LOOKUP: names.look_up,
            protocol.READLINK: attributes.read_link,
            protocol.SYMLINK: names.make_link,
            protocol.MKNOD: names.make_node,
            protocol.MKDIR: names.make_folder,
            protocol.UNLINK: names.remove,
            protocol.RMDIR: names.remove_folder,
            protocol.RENAME: names.rename,
            protocol.RENAME2: names.rename_with_flags,
            protocol.LINK: names.link,
            protocol.STATFS: attributes.statistics,
            protocol.SETXATTR: attributes.set_extended,
            protocol.GETXATTR: attributes.get_extended,
            protocol.LISTXATTR: attributes.list_extended,
            protocol.REMOVEXATTR: attributes.remove_extended,
        }
        on_both: dict[int, Callable[[Nodes, Handles, Request], bytes]] = {
            protocol.GETATTR: attributes.get,
            protocol.SETATTR: attributes.change,
            protocol.OPEN: files.open_file,
            protocol.CREATE: files.create,
            protocol.OPENDIR: folders.open_folder,
        }
        on_handles: dict[int, Callable[[Handles, Request], bytes]] = {
            protocol.RELEASE: files.release,
            protocol.RELEASEDIR: files.release,
            protocol.LSEEK: files.seek,
        }
        self._at_once: dict[int, Callable[[Request], bytes]] = {
            protocol.INIT: self._begin,
            protocol.DESTROY: self._end,
            protocol.FLUSH: lambda request: b"",
            **{number: _bind(do, nodes) for number, do in on_nodes.items()},
            **{number: _bind(do, nodes, handles) for number, do in on_both.items()},
            **{number: _bind(do, handles) for number, do in on_handles.items()},
        }
        self._later: dict[int, Callable[[Handles, Request], bytes]] = {
            protocol.FSYNC: files.sync,
            protocol.FSYNCDIR: files.sync,
            protocol.FALLOCATE: files.allocate,
        }

    @property
    def state(self) -> dict[str, Any]:
        """How much the guest has in use."""
        return self._nodes.state | {"handles": len(self._handles)}

    def answer(
        self, request: Request, readable: list[memoryview], writable: list[memoryview]
    ) -> Answer | Callable[[], Answer]:
        """Returns the answer to a request, or a function that does.

        `readable` is the data of a write, `writable` where the answer's data goes. Raises OSError
        for the guest; and struct.error, ValueError or OverflowError for a request that is cut short
        or has a number that no file has.
        """
        operation = request.operation
        if self._readonly and operation in _WRITING:
            raise OSError(errno.EROFS, "the folder is for reading")
        if self._readonly and operation == protocol.OPEN:
            flags, _ = OPEN_IN.unpack_from(request.body)
            if flags & (os.O_ACCMODE | os.O_TRUNC) != os.O_RDONLY:
                raise OSError(errno.EROFS, "the folder is for reading")
        if operation == protocol.READ:
            return files.read(self._handles, request, writable)
        if operation == protocol.WRITE:
            return files.write(self._handles, request, readable)
        if operation in (protocol.READDIR, protocol.READDIRPLUS):
            plus = operation == protocol.READDIRPLUS
            room = sum(map(len, writable))
            return folders.read(self._nodes, self._handles, request, room, plus=plus)
        if operation in self._later:
            return _bind(self._later[operation], self._handles, request)
        if operation in self._at_once:
            return self._at_once[operation](request)
        raise OSError(errno.ENOSYS, "an operation that isn't there")

    def forget(self, request: Request) -> None:
        """FORGET and BATCH_FORGET, which have no answer."""
        body = request.body
        if request.operation == protocol.FORGET and len(body) >= FORGET_IN.size:
            self._nodes.forget(request.node, FORGET_IN.unpack_from(body)[0])
        elif request.operation == protocol.BATCH_FORGET and len(body) >= BATCH_FORGET_IN.size:
            count, _ = BATCH_FORGET_IN.unpack_from(body)
            whole = (len(body) - BATCH_FORGET_IN.size) // FORGET_ONE.size
            for index in range(min(count, whole)):
                offset = BATCH_FORGET_IN.size + index * FORGET_ONE.size
                self._nodes.forget(*FORGET_ONE.unpack_from(body, offset))

    def reset(self) -> None:
        """Forgets all that the guest had."""
        self._handles.close()
        self._nodes.forget_all()

    def close(self) -> None:
        """Closes all descriptors."""
        self._handles.close()
        self._nodes.close()

    def _begin(self, request: Request) -> bytes:
        major, minor, readahead, flags = INIT_IN.unpack_from(request.body)
        if major < protocol.MAJOR:
            raise OSError(errno.EPROTO, "a protocol that is too old")
        self.reset()
        return INIT_ANSWER.pack(
            *(protocol.MAJOR, min(minor, protocol.MINOR), readahead, flags & _FLAGS),
            *(16, 12, MOST, 1, MOST // _PAGE, 0, 0),
        )

    def _end(self, request: Request) -> bytes:
        self.reset()
        return b""


def _bind(function: Callable[..., bytes], *first: Any) -> Callable[..., bytes]:
    return lambda *rest: function(*first, *rest)
