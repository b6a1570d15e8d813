"""The virtio file system device: FUSE requests on virtqueues. Source: virtio 1.2, 5.11."""

from __future__ import annotations

import errno
import os
import resource
import struct

from ringlet.errors import ConfigError
from ringlet.virtio.device import VirtioDevice
from ringlet.virtio.fs import protocol
from ringlet.virtio.fs.protocol import ANSWER, REQUEST, Request
from ringlet.virtio.fs.server import Server
from ringlet.virtio.queue import DriverError, scatter, skip, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ringlet.virtio.fs.server import Answer
    from ringlet.virtio.queue import Chain

_TAG = 36  # bytes of the tag in the configuration space (5.11.4)
_HIGH_PRIORITY = 0  # the queue for FORGET (5.11.2)
_BODY = 64 << 10  # at most so many bytes of a request, without the data of a write
_KEPT_FREE = 128  # descriptors for all else that this process does


class FileSystem(VirtioDevice):
    """The folder `path` of the host, which the guest mounts by `tag`.

    readonly  whether the guest changes nothing
    lifetime  seconds for which the guest may believe what it was told; 0 where the host changes the
              folder, too

    Raises `ConfigError` if the folder can't be opened.
    """

    device_id = 26
    queue_sizes = (128, 1024)

    def __init__(
        self,
        path: str | os.PathLike[str],
        tag: str,
        *,
        readonly: bool = False,
        lifetime: int = 0,
    ) -> None:
        encoded = tag.encode()
        if not 0 < len(encoded) <= _TAG or b"\0" in encoded:
            raise ConfigError(f"a folder's tag is {tag!r}", f"give a name of at most {_TAG} bytes")
        self.config = encoded.ljust(_TAG, b"\0") + (1).to_bytes(4, "little")
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = max((min(files, 1 << 14) - _KEPT_FREE) // 4, 16)
        try:
            self._server = Server(path, readonly=readonly, limit=limit, lifetime=lifetime)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(
                f"can't share {os.fspath(path)!r}: {reason}", "name a folder that you may read"
            ) from error

    @property
    def state(self) -> dict[str, Any]:
        """How much the guest has in use; its files are the host's, and can't be in a state."""
        return self._server.state

    def handle(self, queue: int, chain: Chain) -> int | Callable[[], int]:
        """Does one request."""
        header, readable = split(chain.readable, REQUEST.size)
        _, operation, number, node, uid, gid, _, _ = REQUEST.unpack(header)
        size = protocol.WRITE_IN.size if operation == protocol.WRITE else _BODY
        size = min(size, sum(map(len, readable)))
        body, data = split(readable, size) if size else (b"", readable)
        request = Request(operation, number, node, uid, gid, body)
        if operation in (protocol.FORGET, protocol.BATCH_FORGET):
            self._server.forget(request)
            return 0
        if operation == protocol.INTERRUPT or queue == _HIGH_PRIORITY:
            return 0  # no request waits for what may not come
        if sum(map(len, chain.writable)) < ANSWER.size:
            raise DriverError("a request without a place for its answer")
        place = skip(chain.writable, ANSWER.size)
        result = self._try(request, lambda: self._server.answer(request, data, place))
        if isinstance(result, bytes | int):
            return _reply(chain, number, result)
        return lambda: _reply(chain, number, self._try(request, result))

    def _try(self, request: Request, do: Callable[[], Any]) -> Any:
        try:
            return do()
        except OSError as error:
            return _Failure(error.errno or errno.EIO)
        except (struct.error, ValueError, OverflowError):  # see Server.answer
            return _Failure(errno.EINVAL)

    def reset(self) -> None:
        """Forgets all that the guest had."""
        self._server.reset()

    def close(self) -> None:
        """Closes all descriptors."""
        self._server.close()


class _Failure(int):
    """The number of an error, as the answer."""


def _reply(chain: Chain, number: int, result: Answer) -> int:
    """Writes the answer; returns its size. A plain number says how much data is there already."""
    error, data = 0, b""
    if isinstance(result, _Failure):
        error, size = -int(result), ANSWER.size
    elif isinstance(result, bytes):
        data, size = result, ANSWER.size + len(result)
    else:
        size = ANSWER.size + result
    rest = memoryview(ANSWER.pack(size, error, number) + data)
    if len(rest) > sum(map(len, chain.writable)):
        rest = memoryview(ANSWER.pack(ANSWER.size, -errno.ERANGE, number))
        size = ANSWER.size
    scatter(rest, chain.writable)
    return size
