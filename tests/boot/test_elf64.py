import pytest

from ringlet.board import layout
from ringlet.boot import Entry, open_kernel
from ringlet.errors import ImageError
from ringlet.kvm.memory import GuestMemory

from .elf_builder import Part, build, pvh_note
from .guest import guest_memory, number, read_start_info, written_outside

CODE = Part(0x100000, b"\xf4" * 64, virtual=0x80100000)


def boot(
    memory: GuestMemory, *parts: Part, bits: int = 64, entry: int = 0x100010, line: bytes = b""
) -> Entry:
    with open_kernel(bytes(build(bits, [CODE, *parts], entry=entry)), "elf64") as kernel:
        return kernel.load(memory, command_line=line)


def walk(memory: GuestMemory, top: int, virtual: int) -> tuple[int, int]:
    """Physical address and flags of a virtual one, as the processor finds them (SDM 3, 4.5)."""
    table = top
    for shift in (39, 30):
        entry = number(memory, table + 8 * (virtual >> shift & 511), 8)
        assert entry & 0x83 == 3  # present, writable, not a page
        table = entry & ~0xFFF
    entry = number(memory, table + 8 * (virtual >> 21 & 511), 8)
    return (entry & ~0x1FFFFF) + (virtual & 0x1FFFFF), entry & 0xFFF


def test_the_entry_is_a_physical_address_with_rdi_the_start_info_and_a_stack() -> None:
    with guest_memory(4 << 20) as memory:
        registers = boot(memory, line=b"hello").registers
        assert registers.rip == 0x100010
        assert registers.rdi == layout.START_INFO
        assert registers.rflags == 2
        assert registers.rsp % 16 == 8
        assert layout.STACK_TOP - 16 <= registers.rsp < layout.STACK_TOP
        assert number(memory, registers.rsp, 8) == 0
        assert read_start_info(memory, registers.rdi).command_line == b"hello"
        assert memory.read(0x100000, 64) == CODE.data
        boot_data = layout.BOOT_DATA_END - layout.BOOT_DATA
        assert not written_outside(memory, [(layout.BOOT_DATA, boot_data), (0x100000, 64)])


def test_the_processor_is_in_long_mode() -> None:
    with guest_memory(4 << 20) as memory:
        special = boot(memory).special
    assert (special.cr0, special.cr4, special.efer) == (0x80000011, 0x20, 0x500)
    assert (special.cs.l, special.cs.db, special.cs.type, special.cs.dpl) == (1, 0, 0xB, 0)
    assert (special.ss.type, special.ss.present, special.ss.dpl) == (3, 1, 0)
    assert (special.tr.type, special.tr.present, special.tr.limit) == (0xB, 1, 0x67)


@pytest.mark.parametrize(
    "address", [0, 0x1FFFFF, 0x200000, 0x3FFFFFFF, 1 << 30, 0xBFFFFFFF, 0xFEE00020, 0xFFFFFFFF]
)
def test_the_first_4_gib_are_mapped_to_themselves(address: int) -> None:
    with guest_memory(4 << 20) as memory:
        top = boot(memory).special.cr3
        assert walk(memory, top, address) == (address, 0x83)


def test_every_page_below_4_gib_is_mapped_and_nothing_above() -> None:
    with guest_memory(4 << 20) as memory:
        top = boot(memory).special.cr3
        for address in range(0, 4 << 30, 2 << 20):
            assert walk(memory, top, address) == (address, 0x83)
        assert number(memory, top + 8, 8) == 0
        pointers = number(memory, top, 8) & ~0xFFF
        assert number(memory, pointers + 8 * 4, 8) == 0


def test_the_gdt_in_memory_agrees_with_the_segments() -> None:
    with guest_memory(4 << 20) as memory:
        special = boot(memory).special
        assert special.gdt == (layout.GDT, 23)
        assert number(memory, layout.GDT, 8) == 0
        for segment in (special.cs, special.ds, special.es, special.ss):
            descriptor = number(memory, layout.GDT + segment.selector, 8)
            fields = {
                "type": descriptor >> 40 & 0xF,
                "s": descriptor >> 44 & 1,
                "dpl": descriptor >> 45 & 3,
                "present": descriptor >> 47 & 1,
                "l": descriptor >> 53 & 1,
                "db": descriptor >> 54 & 1,
                "g": descriptor >> 55 & 1,
            }
            assert fields == {name: getattr(segment, name) for name in fields}
            limit = (descriptor & 0xFFFF) | (descriptor >> 32 & 0xF0000)
            assert limit << 12 | 0xFFF == segment.limit


def test_an_entry_above_4_gib_is_refused_even_in_a_segment() -> None:
    with guest_memory((3 << 30) + 0x1000) as memory:
        high = Part(layout.MMIO_HOLE_END, b"code")
        with pytest.raises(ImageError, match="isn't below 4 GiB"):
            boot(memory, high, entry=layout.MMIO_HOLE_END)
        with pytest.raises(ImageError, match="isn't below 4 GiB"):
            boot(memory, entry=0xFFFFFFFF_80100000)


def test_an_entry_in_no_segment_is_refused() -> None:
    with (
        guest_memory(4 << 20) as memory,
        pytest.raises(ImageError, match="entry point 0x100040 is in no segment"),
    ):
        boot(memory, entry=0x100040)


def test_a_32_bit_elf_is_refused() -> None:
    with guest_memory(4 << 20) as memory, pytest.raises(ImageError, match="is a 32-bit ELF"):
        boot(memory, bits=32)


def test_a_pvh_note_does_not_matter_when_the_protocol_is_forced() -> None:
    with guest_memory(4 << 20) as memory:
        assert boot(memory, pvh_note(0x100000)).registers.rdi == layout.START_INFO
