"""elf64: a 64-bit ELF entered in long mode, ringlet's own boot protocol.

The contract, at the ELF's entry point (e_entry, taken as a physical address):

- 64-bit ring 0 with paging; the first 4 GiB are mapped to themselves, writable, in 2 MiB pages.
- RDI: the physical address of the start info, the same struct hvm_start_info as PVH's.
- RSP: 8 modulo 16, as after a call, with `STACK_TOP` of stack; the return address is 0.
- RFLAGS: 2, so interrupts off, direction upwards. The other general registers are 0.
- CS is selector 8 of a GDT in guest memory, the data segments and SS are selector 16.
- IDTR and TR hold nothing of use. CR0 is PE, ET, PG; CR4 PAE; EFER LME, LMA. What else the
  guest wants (SSE, NX, write protection), it turns on.
- Stack, tables, GDT and start info lie where board/layout.py draws them, or further up where the
  kernel itself lies there. The memory map calls that memory RAM; it is the guest's.
"""

from __future__ import annotations

from ringlet.board.layout import STACK_TOP, START_INFO
from ringlet.boot import elf, long_mode
from ringlet.boot.boot_data import place_boot_data
from ringlet.boot.entry import Entry
from ringlet.boot.kernel import Kernel
from ringlet.boot.start_info import write_start_info
from ringlet.errors import ImageError
from ringlet.kvm.registers import Registers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.boot.image import Image
    from ringlet.boot.kernel import Given
    from ringlet.kvm.memory import GuestMemory

_CODE = 0x8  # its selector


def check(image: Image, executable: elf.Elf) -> None:
    """Raise `ImageError` unless it is a 64-bit ELF that can be entered at its e_entry."""
    if executable.bits != 64:
        raise ImageError(
            f"{image.name} is a 32-bit ELF", "build it as a 64-bit ELF, or with a PVH note"
        )
    if executable.entry >= long_mode.MAPPED:
        raise ImageError(
            f"{image.name}: its entry point {executable.entry:#x} isn't below 4 GiB",
            "link it so that e_entry is a physical address",
        )


class Elf64Kernel(Kernel):
    """A 64-bit ELF, entered at its entry point."""

    protocol = "elf64"

    def __init__(self, image: Image, executable: elf.Elf) -> None:
        super().__init__(image)
        check(image, executable)
        self._executable = executable

    def _load(self, memory: GuestMemory, given: Given) -> Entry:
        image, executable = self._image, self._executable
        elf.check_segments(image, executable, memory, executable.entry)
        places = executable.places
        offset = place_boot_data(memory, places)
        write_start_info(memory, places, given.command_line, given.modules, offset)
        special = long_mode.prepare(memory, _CODE, offset)
        elf.load_segments(image, executable, memory)
        stack = STACK_TOP + offset - 8
        return Entry(Registers(rdi=START_INFO + offset, rsp=stack, rip=executable.entry), special)
