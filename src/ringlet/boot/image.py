"""An image: a kernel or a module, open for reading.

This file opens and checks an image once. After that, ringlet uses only the image's descriptor, and
looks at no path again. Ringlet reads an image straight into guest memory, and never maps it into
its own memory: if someone truncates the file, a read ends in an error, but a mapping would end in
a signal.
"""

from __future__ import annotations

import errno
import os
import stat

from ringlet.board.layout import MIB
from ringlet.closing import Closing
from ringlet.errors import ConfigError, ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.kvm.memory import GuestMemory

_AGAIN = "build or download it again"


class Image(Closing):
    """An open image of `size` bytes, which owns its descriptor; `name` is for messages."""

    __slots__ = ("_fd", "name", "size")

    def __init__(self, fd: int, name: str, size: int) -> None:
        self._fd = fd
        self.name = name
        self.size = size

    def require(self, offset: int, size: int) -> None:
        """Raises `ImageError` unless the image has `size` bytes from `offset` on."""
        if not 0 <= offset <= offset + size <= self.size:
            raise ImageError(
                f"{self.name} is cut short: it has {self.size} bytes, "
                f"but refers to bytes {offset:#x} to {offset + size:#x}",
                _AGAIN,
            )

    def read(self, offset: int, size: int) -> bytes:
        """Returns a copy of `size` bytes from `offset` on.

        `read` is for headers, and the caller must limit `size`. Raises `ImageError` if the image
        has fewer bytes.
        """
        self.require(offset, size)
        try:
            data = os.pread(self._fd, size, offset)
        except OSError as error:
            raise self._unreadable(error) from error
        if len(data) < size:
            raise self._unreadable(None)
        return data

    def load(self, memory: GuestMemory, offset: int, address: int, size: int) -> None:
        """Reads `size` bytes from `offset` on into guest memory at `address`.

        Raises `ImageError` if the image has fewer bytes, and `GuestMemoryError` for an address
        outside guest memory.
        """
        self.require(offset, size)
        try:
            memory.load(self._fd, offset, address, size)
        except EOFError as error:
            raise self._unreadable(None) from error
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError | None) -> ImageError:
        if error is None:
            return ImageError(f"{self.name} was cut short while it was read", _AGAIN)
        return ImageError(f"{self.name} can't be read: {error.strerror}", "look at its disk")

    def fileno(self) -> int:
        """Returns the descriptor, which this object still owns."""
        return self._fd

    def close(self) -> None:
        """Closes the descriptor; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def open_image(source: str | bytes | os.PathLike[str]) -> Image:
    """Opens the file named `source`, or keeps the bytes `source` as an image in memory.

    Raises `ImageError` for a file that is missing, unreadable or empty, and for a file that isn't
    a regular file.
    """
    if isinstance(source, bytes):
        return _in_memory(source)
    path = os.fspath(source)
    name = path if path.isprintable() else ascii(path)[1:-1]  # a message is one line
    try:
        # Without these flags, opening a FIFO would wait for a writer, and a terminal would become
        # the controlling terminal of this process.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise _not_opened(name, error) from error
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name} is a directory", "name the image in it")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{name} is not a regular file", "copy what it gives to a file")
        if status.st_size == 0:
            raise ImageError(f"{name} is empty", _AGAIN)
    except BaseException:
        os.close(fd)
        raise
    return Image(fd, name, status.st_size)


def _not_opened(name: str, error: OSError | ValueError) -> ImageError:
    code = error.errno if isinstance(error, OSError) else errno.EINVAL  # a NUL in the path
    if code in (errno.ENOENT, errno.ENOTDIR):
        return ImageError(
            f"there is no image {name}",
            "check the path; `ringlet guests` lists the guests' names; `ringlet nested --setup` "
            "fetches a Linux kernel and says where it is",
        )
    if code in (errno.EACCES, errno.EPERM):
        return ImageError(f"{name} may not be read", "give yourself the right to read it: chmod +r")
    if code == errno.ENXIO:  # a socket
        return ImageError(f"{name} is not a regular file", "copy what it gives to a file")
    return ImageError(f"{name} can't be opened: {os.strerror(code or 0)}", "check the path")


def _in_memory(data: bytes) -> Image:
    if not data:
        raise ImageError("the image's bytes are empty", _AGAIN)
    image = Image(os.memfd_create("ringlet-image"), "<bytes>", len(data))
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(image._fd, rest) :]
    except BaseException:
        image.close()
        raise
    return image


def require_memory(image: Image, memory: GuestMemory, end: int) -> None:
    """Raises `ConfigError` unless RAM below the MMIO hole reaches the address `end`."""
    ram = memory.regions[0].size
    if end > ram:
        needed = -(-end // MIB)
        raise ConfigError(
            f"{image.name} needs {needed} MiB of memory, the guest has {ram // 1024} KiB",
            f"give it more: --memory {needed}M",
        )
