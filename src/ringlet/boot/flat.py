"""flat: 16-bit code in real mode, which starts as a boot sector starts on a PC.

Source: IBM PC AT Technical Reference (INT 19h loads the boot sector at 0:7C00h, and DL is the
drive); Intel SDM volume 3, 10.1.4 and 21.1 (real-address mode).
"""

from __future__ import annotations

from ringlet.board.layout import FLAT_LOAD, LOW_RAM_END
from ringlet.boot.elf import Elf, ProgramHeader
from ringlet.boot.entry import Entry
from ringlet.boot.image import require_memory
from ringlet.boot.kernel import Kernel
from ringlet.errors import ConfigError, ImageError
from ringlet.kvm.registers import (
    DescriptorTable,
    Registers,
    Segment,
    SpecialRegisters,
    code_segment,
    data_segment,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.boot.image import Image
    from ringlet.boot.kernel import Given
    from ringlet.kvm.memory import GuestMemory

_LIMIT = 0xFFFF
_FIRST_HARD_DISK = 0x80
_DATA = data_segment(0, limit=_LIMIT, bits=16)


class FlatKernel(Kernel):
    """A flat image: 16-bit code that gets no command line, no modules and no memory map."""

    protocol = "flat"
    acpi_tables = False
    device_words = False
    _takes_load_address = True

    def __init__(self, image: Image) -> None:
        super().__init__(image)
        code = ProgramHeader(0, FLAT_LOAD, image.size, image.size, 1)
        self.executable = Elf(16, FLAT_LOAD, [code], [])

    def _load(self, memory: GuestMemory, given: Given) -> Entry:
        """Loads the whole image at the load address, which is also the entry point.

        CS is 0, or the load address divided by 16 if the address is above 64 KiB. The other
        segments are 0, SP is 0x7C00, and interrupts are off. Raises `ConfigError` for a wrong
        address, and `ImageError` for an image that doesn't fit below the end of conventional
        memory.
        """
        if given.command_line or given.modules:
            raise ConfigError(
                f"{self.name} is a flat image: it takes no command line and no modules",
                "leave --cmdline, --initrd and --module out",
            )
        address = FLAT_LOAD if given.load_address is None else given.load_address
        if not 0 <= address < LOW_RAM_END:
            raise ConfigError(
                f"load address {address:#x} is outside conventional memory",
                f"choose one below {LOW_RAM_END:#x}",
            )
        end = address + self.image.size
        if end > LOW_RAM_END:
            raise ImageError(
                f"{self.name} is too large: from {address:#x} on it ends at {end:#x}, "
                f"conventional memory at {LOW_RAM_END:#x}",
                "make it smaller, or choose a lower --load-address",
            )
        require_memory(self.image, memory, end)
        self.image.load(memory, 0, address, self.image.size)
        selector = address >> 4 if address > _LIMIT else 0
        base = selector << 4
        special = SpecialRegisters(
            cs=code_segment(selector, base=base, limit=_LIMIT, bits=16),
            ds=_DATA,
            es=_DATA,
            fs=_DATA,
            gs=_DATA,
            ss=_DATA,
            tr=Segment(limit=_LIMIT, type=0xB, present=1),
            ldt=Segment(limit=_LIMIT, type=2, present=1),
            gdt=DescriptorTable(0, _LIMIT),
            idt=DescriptorTable(0, 0x3FF),  # the interrupt vector table
            cr0=0x10,  # ET, which is always set
        )
        registers = Registers(rdx=_FIRST_HARD_DISK, rsp=FLAT_LOAD, rip=address - base)
        return Entry(registers, special)
