"""Guest memory: every access of ringlet to a guest-physical address goes through this file.

Guest memory consists of regions. A region is a mapping of the host with a guest-physical address.
This file checks every access against the regions. An address from the guest may be anything; an
access outside the regions raises `GuestMemoryError`.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress

from ringlet.closing import Closing
from ringlet.errors import RingletError
from ringlet.kvm.core import ffi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

PAGE = mmap.PAGESIZE
HUGE_PAGE = 2 << 20
MAP_NORESERVE = 0x4000  # <bits/mman-linux.h>; Python's mmap has no name for it before 3.13


class GuestMemoryError(RingletError):
    """A guest-physical range is outside the guest's memory."""

    def __init__(self, address: int, size: int) -> None:
        super().__init__(
            f"guest-physical {address:#x}, {size:#x} bytes, is outside the guest's memory",
            "give the guest more memory, or look at who computed this address",
        )


class Region:
    """One range of guest-physical memory: a mapping of the host, from its byte `skip` on.

    `address` is the guest-physical address. `address`, `skip` and the length of `mapping` are
    multiples of the page size.
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
        """Returns the mapping for the C core; the region's memory starts at its byte `skip`.

        The region can't be unmapped until the returned object is released. This object exports
        `mapping` and not `view`, because Python's garbage collector crashes on an exported memory
        view.
        """
        return ffi.from_buffer("uint8_t[]", self.mapping)

    def close(self) -> None:
        """Unmaps the region. Raises `BufferError` while a view of the region exists."""
        self.view.release()
        try:
            self.mapping.close()
        except BufferError:
            self.view = memoryview(self.mapping)[-self.size :]
            raise


def anonymous(address: int, size: int) -> Region:
    """Returns a region of zeroed memory; the host allocates a page when the page is first used.

    Raises `OSError` if the host can't map that much memory.
    """
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    mapping = mmap.mmap(-1, size + HUGE_PAGE, flags=flags)
    # KVM maps a huge page only if the host's address and the guest's address have the same offset
    # in a huge page. Linux 6.7 and later align such a mapping themselves.
    with ffi.from_buffer(mapping) as start:
        skip = (address - int(ffi.cast("uintptr_t", start))) % HUGE_PAGE
    mapping.resize(skip + size)
    return Region(address, mapping, skip)


class GuestMemory(Closing):
    """The whole memory of a guest: regions that don't overlap, in the order of their addresses."""

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
        """The number of bytes of all regions together."""
        return sum(region.size for region in self.regions)

    def prefer_huge_pages(self) -> None:
        """Asks the host for huge pages, for a guest that will use much of its memory.

        Then one page fault maps 512 pages, both when the host loads the guest and when the guest
        runs.
        """
        for region in self.regions:
            with suppress(OSError):  # the host's kernel has no huge pages
                region.mapping.madvise(mmap.MADV_HUGEPAGE)

    def view(self, address: int, size: int) -> memoryview:
        """Returns a writable view of `size` bytes from `address` on, without a copy.

        Raises `GuestMemoryError` if the bytes don't lie in one region.
        """
        for region in self.regions:
            start = address - region.address
            if 0 <= start <= region.size and 0 <= size <= region.size - start:
                return region.view[start : start + size]
        raise GuestMemoryError(address, size)

    def has(self, address: int, size: int) -> bool:
        """Returns whether `size` bytes from `address` on lie in one region."""
        return any(
            0 <= address - region.address <= region.size
            and 0 <= size <= region.size - (address - region.address)
            for region in self.regions
        )

    def read(self, address: int, size: int) -> bytes:
        """Returns a copy of `size` bytes from `address` on; raises as `view` does."""
        with self.view(address, size) as view:
            return view.tobytes()

    def write(self, address: int, data: bytes) -> None:
        """Copies `data` to `address`; raises as `view` does."""
        with self.view(address, len(data)) as view:
            view[:] = data

    def load(self, fd: int, offset: int, address: int, size: int) -> None:
        """Reads `size` bytes of the file `fd`, from `offset` on, into the guest at `address`.

        Raises `GuestMemoryError` as `view` does, and `EOFError` if the file has fewer bytes.
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
        """The regions for the C core, `struct ringlet_region[]`. Don't use them after `close`."""
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
        """Unmaps every region. Raises `BufferError` while a view of a region exists."""
        for host in self._hosts:
            ffi.release(host)
        self._hosts.clear()
        self._native = None
        for region in self.regions:
            region.close()
