"""A kernel: an image that has been looked at and parsed once, ready to be put into a guest.

Each protocol's file has a class of its own: what it parses, what it asks of a machine, and how it
loads.
"""

from __future__ import annotations

from abc import abstractmethod

from ringlet.board.layout import MIB
from ringlet.closing import Closing
from ringlet.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NamedTuple

    from ringlet.boot.entry import Entry
    from ringlet.boot.image import Image
    from ringlet.kvm.memory import GuestMemory
else:
    from ringlet.host.named_tuple import NamedTuple

DEFAULT_MEMORY = 64 * MIB


class Given(NamedTuple):
    """What a kernel is given beside memory: see `Kernel.load`."""

    command_line: bytes
    modules: Sequence[tuple[Image, bytes]]
    load_address: int | None
    decompress: bool | None


class Kernel(Closing):
    """An image with its protocol's traits, which say what machine the kernel expects.

    The constructor of each protocol parses, and raises `ImageError` for an image that doesn't speak
    the protocol. From then on the kernel owns the image.
    """

    protocol: str  # the protocol's name
    is_linux = False  # by whichever protocol: it needs all of ring 0, and its console is followed
    expects_pit = False
    usual_memory = DEFAULT_MEMORY  # bytes of RAM, where nobody says how many
    acpi_tables = True  # whether it is given them
    device_words = True  # whether virtio devices are named by words of its command line
    _takes_load_address = False

    def __init__(self, image: Image) -> None:
        self._image = image

    @property
    def name(self) -> str:
        """The image's, for messages."""
        return self._image.name

    def load(
        self,
        memory: GuestMemory,
        *,
        command_line: bytes = b"",
        modules: Sequence[tuple[Image, bytes]] = (),
        load_address: int | None = None,
        decompress: bool | None = None,
    ) -> Entry:
        """Put the kernel, and all that it is told, into fresh `memory`.

        Each module comes with its command line. `load_address` is for flat images, `decompress`
        for a bzImage: whether the host decompresses it or the guest, None for the faster one.
        Raises `ImageError`, or `ConfigError` for an option that doesn't fit; then memory may be
        written in part, though only where a guest's image, its modules and the boot data belong.
        """
        if load_address is not None and not self._takes_load_address:
            raise ConfigError(
                f"{self.name} is loaded where its header says, not at a load address",
                "leave --load-address out; it is for --protocol flat",
            )
        return self._load(memory, Given(command_line, modules, load_address, decompress))

    @abstractmethod
    def _load(self, memory: GuestMemory, given: Given) -> Entry:
        """Load it, and say how it is entered."""

    def close(self) -> None:
        """Close the image; the second time does nothing."""
        self._image.close()
