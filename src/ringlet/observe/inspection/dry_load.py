"""Loads a kernel into memory that reads nothing of the image, to learn where the kernel starts.

So each check is the boot's own, and a large image takes no memory.
"""

from __future__ import annotations

from ringlet.board.layout import MMIO_HOLE, MMIO_HOLE_END, ram_ranges
from ringlet.errors import ConfigError, RingletError
from ringlet.kvm.memory import PAGE, GuestMemory, anonymous

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.boot import Entry, Kernel

_MOST = 1 << 40  # bytes; a kernel that lies higher is refused


class DryMemory(GuestMemory):
    """Guest memory into which no image is read; the host allocates next to nothing."""

    @classmethod
    def of(cls, size: int) -> DryMemory:
        """Returns `size` bytes of memory. Raises `ConfigError` if the host can't map as much."""
        try:
            return cls([anonymous(address, length) for address, length in ram_ranges(size)])
        except OSError as error:
            raise ConfigError(
                f"the host can't map {size >> 20} MiB: {error.strerror}", "look at `ulimit -v`"
            ) from error

    def prefer_huge_pages(self) -> None:
        """Does nothing: a huge page would take longer to clear than all the rest."""

    def load(self, fd: int, offset: int, address: int, size: int) -> None:
        """Checks the range as `GuestMemory.load` does, and reads nothing."""
        self.view(address, size).release()


def load(kernel: Kernel, size: int) -> Entry:
    """Returns the state in which `kernel` starts in `size` bytes of memory, without modules.

    A bzImage isn't decompressed. Raises `RingletError` as `Kernel.load` does.
    """
    with DryMemory.of(size) as memory:
        return kernel.load(memory, decompress=False)


def least_memory(kernel: Kernel) -> int:
    """Returns the fewest bytes of RAM, in whole pages, that the kernel can be loaded into.

    Raises `RingletError` for a kernel that no memory is large enough for, or that is wrong.
    """
    end = max((segment.end for segment in kernel.executable.segments), default=0)
    most = max(MMIO_HOLE, min(end - (MMIO_HOLE_END - MMIO_HOLE), _MOST)) + PAGE - 1 & -PAGE
    load(kernel, most)
    low, high = 0, most // PAGE  # the kernel doesn't fit into `low` pages, and fits into `high`
    while high - low > 1:
        middle = (low + high) // 2
        try:
            load(kernel, middle * PAGE)
            high = middle
        except RingletError:
            low = middle
    return high * PAGE
