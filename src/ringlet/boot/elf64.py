"""elf64: ringlet's own boot protocol, which enters a 64-bit ELF in long mode.

The state of the vCPU at the ELF's entry point (e_entry, taken as a physical address):

- 64-bit ring 0 with paging; the first 4 GiB are mapped to themselves, writable, in 2 MiB pages.
- RDI: the physical address of the start info, the same struct hvm_start_info as PVH's.
- RSP: 8 modulo 16, as after a call, with `STACK_TOP` of stack; the return address is 0.
- RFLAGS: 2, so interrupts are off and DF is clear. The other general registers are 0.
- CS is selector 8 of a GDT in guest memory; DS, ES, FS, GS and SS are selector 16.
- The guest can't use IDTR and TR before it loads them. CR0 is PE, ET, PG; CR4 is PAE; EFER is LME,
  LMA. The guest itself enables other features (SSE, NX, write protection).
- Stack, page tables, GDT and start info lie at the addresses that board/layout.py draws. If the
  kernel itself lies there, they lie higher. The memory map lists this memory as RAM, and the guest
  may use it.
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

_CODE = 0x8  # the selector of the code segment


def check(image: Image, executable: elf.Elf) -> None:
    """Raises `ImageError` unless the image is a 64-bit ELF whose e_entry is below 4 GiB."""
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
    """A 64-bit ELF; the guest starts at its entry point."""

    protocol = "elf64"

    def __init__(self, image: Image, executable: elf.Elf) -> None:
        super().__init__(image)
        check(image, executable)
        self.executable = executable

    def _load(self, memory: GuestMemory, given: Given) -> Entry:
        image, executable = self.image, self.executable
        elf.check_segments(image, executable, memory, executable.entry)
        places = executable.places
        offset = place_boot_data(memory, places)
        write_start_info(memory, places, given.command_line, given.modules, offset)
        special = long_mode.prepare(memory, _CODE, offset)
        elf.load_segments(image, executable, memory)
        stack = STACK_TOP + offset - 8
        return Entry(Registers(rdi=START_INFO + offset, rsp=stack, rip=executable.entry), special)
