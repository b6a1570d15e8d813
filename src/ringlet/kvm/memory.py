"""Guest memory: the one door to a guest-physical address.

It is made of regions, each a mapping of the host with its guest-physical address. Every access
is checked against them; an address outside raises, whatever the guest says.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress

from ringlet.closing import Closing
from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

PAGE = mmap.PAGESIZE
HUGE_PAGE = 2 << 20
MAP_NORESERVE = 0x4000  # <bits/mman-linux.h>; Python's mmap has no name for it before 3.13


class GuestMemoryError(RingletError):
    """A guest-physical range that isn't in the guest's memory."""

    def __init__(self, address: int, size: int) -> None:
        super().__init__(
            f"guest-physical {address:#x}, {size:#x} bytes, is outside the guest's memory",
            "give the guest more memory, or look at who computed this address",
        )


class Region:
    """One range of guest-physical memory: an `mmap` of the host, from `skip` on, at `address`.

    `address`, `skip` and the length of `mapping` are multiples of the page size.
    """

    __slots__ = ("address", "mapping", "size", "skip", "view")

    def __init__(self, address: int, mapping: mmap.mmap, skip: int = 0) -> None:
        size = len(mapping) - skip
        if address % PAGE or size % PAGE or not 0 <= address <= (1 << 64) - size:
            raise GuestMemoryError(address, size)
        self.address = address
        self.mapping = mapping
        self.skip = skip
        self.size = size
        self.view = memoryview(mapping)[skip:]

    def export(self) -> Any:
        """The mapping for the C core, its memory at `skip`; can't be unmapped until it's released.

        Not of `view`: an exported memory view crashes Python where its garbage collector finds it.
        """
        from ringlet.kvm.core import ffi

        return ffi.from_buffer("uint8_t[]", self.mapping)

    def close(self) -> None:
        """Unmap it. Raises `BufferError` while a view of it lives."""
        self.view.release()
        try:
            self.mapping.close()
        except BufferError:
            self.view = memoryview(self.mapping)[-self.size :]
            raise


def anonymous(address: int, size: int) -> Region:
    """A region of zeroed memory that takes up the host's only where it is touched.

    Raises `OSError` where the host can't map that much.
    """
    from ringlet.kvm.core import ffi

    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    mapping = mmap.mmap(-1, size + HUGE_PAGE, flags=flags)
    # KVM maps a huge page only where the host's address is aligned as the guest's is. Linux
    # aligns a mapping of this kind by itself from 6.7 on.
    with ffi.from_buffer(mapping) as start:
        skip = (address - int(ffi.cast("uintptr_t", start))) % HUGE_PAGE
    mapping.resize(skip + size)
    return Region(address, mapping, skip)


class GuestMemory(Closing):
    """All of a guest's memory: regions that don't overlap, in the order of their addresses."""

    __slots__ = ("_hosts", "_native", "regions")

    def __init__(self, regions: Iterable[Region]) -> None:
        self._native: Any = None
        self._hosts: list[Any] = []
        self.regions = sorted(regions, key=lambda region: region.address)
        for below, above in zip(self.regions, self.regions[1:], strict=False):
            if below.address + below.size > above.address:
                raise GuestMemoryError(above.address, above.size)

    @property
    def size(self) -> int:
        """Bytes of all regions together."""
        return sum(region.size for region in self.regions)

    def prefer_huge_pages(self) -> None:
        """Have the host back it with huge pages, for a guest that will touch much of it.

        One fault then does for 512 pages, of the host's that load it and of the guest's.
        """
        for region in self.regions:
            with suppress(OSError):  # a kernel without them
                region.mapping.madvise(mmap.MADV_HUGEPAGE)

    def view(self, address: int, size: int) -> memoryview:
        """`size` bytes of one region from `address` on, writable and not copied.

        Raises `GuestMemoryError` if they don't lie in one region.
        """
        for region in self.regions:
            start = address - region.address
            if 0 <= start <= region.size and 0 <= size <= region.size - start:
                return region.view[start : start + size]
        raise GuestMemoryError(address, size)

    def read(self, address: int, size: int) -> bytes:
        """A copy of `size` bytes from `address` on; raises as `view` does."""
        with self.view(address, size) as view:
            return view.tobytes()

    def write(self, address: int, data: bytes) -> None:
        """Copy `data` to `address`; raises as `view` does."""
        with self.view(address, len(data)) as view:
            view[:] = data

    def load(self, fd: int, offset: int, address: int, size: int) -> None:
        """Read `size` bytes of the file `fd`, from `offset` on, into the guest at `address`.

        Raises `GuestMemoryError` as `view` does, `EOFError` if the file ends before.
        """
        with self.view(address, size) as view:
            done = 0
            while done < size:
                with view[done:] as rest:
                    count = os.preadv(fd, [rest], offset + done)
                if count == 0:
                    raise EOFError
                done += count

    @property
    def native(self) -> Any:
        """The regions for the C core, `struct ringlet_region[]`. Not to be used after `close`."""
        from ringlet.kvm.core import ffi

        if self._native is None:
            self._hosts = [region.export() for region in self.regions]
            self._native = ffi.new(
                "struct ringlet_region[]",
                [
                    (region.address, region.size, host + region.skip)
                    for region, host in zip(self.regions, self._hosts, strict=True)
                ],
            )
        return self._native

    def close(self) -> None:
        """Unmap every region. Raises `BufferError` while a view of one lives."""
        from ringlet.kvm.core import ffi

        for host in self._hosts:
            ffi.release(host)
        self._hosts.clear()
        self._native = None
        for region in self.regions:
            region.close()
