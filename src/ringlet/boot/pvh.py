"""PVH: an ELF that names its 32-bit entry point in a note.

Source: Xen, docs/misc/pvh.pandoc (x86/HVM direct boot ABI) and public/elfnote.h. The guest
starts in protected mode without paging, interrupts off, EBX the address of its start info. It
brings its own stack, GDT and IDT.
"""

from collections.abc import Sequence
from functools import lru_cache

from ringlet.board.layout import START_INFO
from ringlet.boot import elf
from ringlet.boot.entry import Entry
from ringlet.boot.image import Image
from ringlet.boot.protected_mode import PROTECTED_MODE
from ringlet.boot.start_info import write_start_info
from ringlet.errors import ImageError
from ringlet.kvm.memory import GuestMemory
from ringlet.kvm.registers import Registers

_NOTE_NAME = b"Xen\0"
_PHYS32_ENTRY = 18  # XEN_ELFNOTE_PHYS32_ENTRY


@lru_cache(maxsize=1)
def entry_point(image: Image, executable: elf.Elf) -> int | None:
    """The physical address in the note, or None where there is no such note.

    Raises `ImageError` for a note that can't be right.
    """
    for name, kind, descriptor in elf.notes(image, executable):
        if name == _NOTE_NAME and kind == _PHYS32_ENTRY:
            if len(descriptor) not in (4, 8):
                raise elf.inconsistent(image, f"its PVH note has {len(descriptor)} bytes")
            return int.from_bytes(descriptor, "little")
    return None


def load(
    image: Image,
    memory: GuestMemory,
    command_line: bytes,
    modules: Sequence[tuple[Image, bytes]],
) -> Entry:
    """Load kernel and modules. Raises `ImageError`, or `ConfigError` for what doesn't fit."""
    executable = elf.parse(image)
    entry = entry_point(image, executable)
    if entry is None:
        raise ImageError(
            f"{image.name} has no PVH note (XEN_ELFNOTE_PHYS32_ENTRY)",
            "build it with one, or choose another --protocol",
        )
    if entry >> 32:
        raise elf.inconsistent(image, f"its PVH entry point {entry:#x} has more than 32 bits")
    elf.check_segments(image, executable, memory, entry)
    write_start_info(memory, executable.segments, command_line, modules)
    elf.load_segments(image, executable, memory)
    return Entry(Registers(rbx=START_INFO, rip=entry), PROTECTED_MODE)
