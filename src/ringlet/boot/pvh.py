"""PVH: a boot protocol for an ELF with a note that holds the 32-bit entry point.

Source: Xen, docs/misc/pvh.pandoc (x86/HVM direct boot ABI) and public/elfnote.h. The guest
starts in protected mode without paging and with interrupts off. EBX is the address of the start
info. The guest brings its own stack, GDT and IDT.
"""

from __future__ import annotations

from ringlet.board.layout import START_INFO
from ringlet.boot import elf
from ringlet.boot.boot_data import place_boot_data
from ringlet.boot.entry import Entry
from ringlet.boot.kernel import Kernel
from ringlet.boot.protected_mode import PROTECTED_MODE
from ringlet.boot.start_info import write_start_info
from ringlet.errors import ImageError
from ringlet.kvm.registers import Registers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringlet.boot.image import Image
    from ringlet.boot.kernel import Given
    from ringlet.kvm.memory import GuestMemory

_NOTE_NAME = b"Xen\0"
_PHYS32_ENTRY = 18
SIGN = "the note XEN_ELFNOTE_PHYS32_ENTRY"


def entry_point(image: Image, notes: Sequence[elf.Note]) -> int | None:
    """Returns the physical address in the PVH note, or None if there is no such note.

    Raises `ImageError` for a note of a wrong size.
    """
    for name, kind, descriptor in notes:
        if name == _NOTE_NAME and kind == _PHYS32_ENTRY:
            if len(descriptor) not in (4, 8):
                raise elf.inconsistent(image, f"its PVH note has {len(descriptor)} bytes")
            return int.from_bytes(descriptor, "little")
    return None


class PvhKernel(Kernel):
    """An ELF with a PVH note. Linux can have such a note, too: see `is_linux`."""

    protocol = "pvh"

    def __init__(self, image: Image, executable: elf.Elf, notes: Sequence[elf.Note]) -> None:
        super().__init__(image)
        entry = entry_point(image, notes)
        if entry is None:
            raise ImageError(
                f"{image.name} has no PVH note (XEN_ELFNOTE_PHYS32_ENTRY)",
                "build it with one, or choose another --protocol",
            )
        if entry >> 32:
            raise elf.inconsistent(image, f"its PVH entry point {entry:#x} has more than 32 bits")
        self.executable = executable
        self._entry = entry
        if elf.is_linux(executable, notes):
            from ringlet.boot.linux import LinuxKernel

            self.is_linux = True
            self.expects_pit = LinuxKernel.expects_pit
            self.usual_memory = LinuxKernel.usual_memory
            self.device_words = LinuxKernel.device_words

    def _load(self, memory: GuestMemory, given: Given) -> Entry:
        image, executable = self.image, self.executable
        elf.check_segments(image, executable, memory, self._entry)
        places = executable.places
        offset = place_boot_data(memory, places)
        write_start_info(memory, places, given.command_line, given.modules, offset)
        elf.load_segments(image, executable, memory)
        return Entry(Registers(rbx=START_INFO + offset, rip=self._entry), PROTECTED_MODE)
