"""A kernel: an image that is parsed once and ready to load into a guest.

Each protocol's file has a subclass, which parses the image, says which machine the kernel expects,
and loads the kernel.
"""

from __future__ import annotations

import os
from abc import abstractmethod

from ringlet.board.layout import MIB
from ringlet.closing import Closing
from ringlet.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NamedTuple

    from ringlet.boot.elf import Elf
    from ringlet.boot.entry import Entry
    from ringlet.boot.image import Image
    from ringlet.boot.symbols import Symbols
    from ringlet.kvm.memory import GuestMemory
else:
    from ringlet.host.named_tuple import NamedTuple

DEFAULT_MEMORY = 64 * MIB


class Given(NamedTuple):
    """The arguments of `Kernel.load`, except for the memory."""

    command_line: bytes
    modules: Sequence[tuple[Image, bytes]]
    load_address: int | None
    decompress: bool | None


class Kernel(Closing):
    """A parsed image; the class attributes say which machine the kernel expects.

    The constructor of each subclass parses the image, and raises `ImageError` for an image that
    doesn't follow the protocol. After that, the kernel owns the image.
    """

    protocol: str  # the protocol's name
    # Whether the kernel is Linux, by any protocol: Linux needs all of ring 0, and ringlet logs its
    # console.
    is_linux = False
    expects_pit = False
    usual_memory = DEFAULT_MEMORY  # bytes of RAM, if the configuration doesn't say how many
    acpi_tables = True  # whether the kernel gets ACPI tables
    device_words = True  # whether words of the command line name the virtio devices
    _takes_load_address = False

    # What lies where in the file and in memory. An image that is no ELF is one segment.
    executable: Elf

    def __init__(self, image: Image) -> None:
        self.image = image

    @property
    def name(self) -> str:
        """The image's name, for messages."""
        return self.image.name

    @property
    def loaded(self) -> Elf:
        """What lies in memory once the kernel is loaded."""
        return self.executable

    def symbols(self) -> Symbols:
        """Returns the symbols of the image, or of the debug file beside it; empty if none."""
        from ringlet.boot.symbols import image_symbols  # few runs need symbols

        return image_symbols(self.image)

    def debug_information(self) -> list[Image]:
        """Opens the files that may have debug information: the image, and the debug file beside it.

        The caller closes both.
        """
        from ringlet.boot.image import Image
        from ringlet.boot.symbols import debug_file

        image = Image(os.dup(self.image.fileno()), self.name, self.image.size)
        debug = debug_file(image)
        return [image] if debug is None else [image, debug]

    def load(
        self,
        memory: GuestMemory,
        *,
        command_line: bytes = b"",
        modules: Sequence[tuple[Image, bytes]] = (),
        load_address: int | None = None,
        decompress: bool | None = None,
    ) -> Entry:
        """Loads the kernel, its modules and its boot data into fresh `memory`.

        Each module comes with its command line. `load_address` is for flat images. `decompress` is
        for a bzImage: True to decompress the kernel on the host, False to let the guest decompress
        it, None for the faster way. Raises `ImageError` for a wrong image, and `ConfigError` for an
        option that doesn't fit the kernel. After an error, some of the memory for the kernel, its
        modules and its boot data may be written.
        """
        if load_address is not None and not self._takes_load_address:
            raise ConfigError(
                f"{self.name} is loaded where its header says, not at a load address",
                "leave --load-address out; it is for --protocol flat",
            )
        return self._load(memory, Given(command_line, modules, load_address, decompress))

    @abstractmethod
    def _load(self, memory: GuestMemory, given: Given) -> Entry:
        """Loads the kernel, and returns the state in which the first vCPU starts."""

    def close(self) -> None:
        """Closes the image; a second call does nothing."""
        self.image.close()
