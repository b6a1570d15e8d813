"""Where the boot data lies when a kernel wants its usual place; and that such kernels run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet import Machine, MachineConfig
from ringlet.board import layout
from ringlet.boot import open_image, open_kernel
from ringlet.boot.boot_data import place_boot_data
from ringlet.errors import ConfigError

from .elf_builder import Part, build, pvh_note
from .guest import guest_memory, number, read_start_info
from .multiboot_builder import flat, header, read_information

MEMORY = 2 << 20
SIZE = layout.BOOT_DATA_END
LOW = 0x90000  # the highest place that ends in conventional memory


@pytest.mark.parametrize(
    ("kernel", "offset"),
    [
        ([], 0),
        ([(0x100000, 0x101000)], 0),
        ([(SIZE, 0x101000)], 0),
        ([(SIZE - 1, SIZE)], LOW),
        ([(0, 1), (0x100000, 0x101000)], LOW),
        ([(0x8000, LOW + 1)], MEMORY - SIZE),
        ([(0x8000, 0x9000), (0x9F000, 0x9F001)], LOW),
        ([(0x8000, 0x9000), (0x9E000, 0x9E001)], 0x8F000),
        ([(0x8000, 0x9000), (0x18000, 0x9FC00)], 0x9000),
        ([(0x8000, 0x9000), (0x17FFF, 0x9FC00)], MEMORY - SIZE),
        ([(0x8000, 0xA0000), (0x1FF000, 0x200000)], 0x1F0000),
    ],
)
def test_it_is_moved_to_the_end_of_conventional_memory_or_of_ram(
    kernel: list[tuple[int, int]], offset: int
) -> None:
    with guest_memory(MEMORY) as memory:
        assert place_boot_data(memory, kernel) == offset


def test_it_is_refused_where_no_room_is_left() -> None:
    for size in (0xF000, 0x1D000, 0x110000 - 0x2000):
        with (
            guest_memory(size) as memory,
            pytest.raises(ConfigError, match="doesn't fit") as caught,
        ):
            place_boot_data(memory, [(0xE000, size)])
        assert "--memory" in caught.value.hint


@given(st.lists(st.integers(0, MEMORY - 1), min_size=2, max_size=8, unique=True))
def test_it_never_overlaps_the_kernel(cuts: list[int]) -> None:
    cuts.sort()
    kernel = list(zip(cuts[::2], cuts[1::2], strict=False))
    with guest_memory(MEMORY) as memory:
        try:
            offset = place_boot_data(memory, kernel)
        except ConfigError:
            return
    assert offset % 4096 == 0
    assert offset + SIZE <= layout.LOW_RAM_END or layout.HIGH_MEMORY <= offset <= MEMORY - SIZE
    assert all(end <= offset or offset + SIZE <= start for start, end in kernel)


def test_modules_go_around_it() -> None:
    image = bytes(build(64, [Part(0x8000, b"\xf4", 0x98000)], entry=0x8000))
    with (
        guest_memory(MEMORY) as memory,
        open_kernel(image) as kernel,
        open_image(b"module") as module,
    ):
        entry = kernel.load(memory, modules=[(module, b"")])
        assert entry.registers.rdi == MEMORY - SIZE + layout.START_INFO
        info = read_start_info(memory, entry.registers.rdi)
        assert info.modules == [(MEMORY - SIZE - 0x1000, 6, b"")]


def test_page_tables_and_gdt_move_along() -> None:
    image = bytes(build(64, [Part(0x8000, b"\xf4")], entry=0x8000))
    with guest_memory(MEMORY) as memory, open_kernel(image) as kernel:
        registers, special = kernel.load(memory, command_line=b"line")
        assert special.gdt.base == LOW + layout.GDT
        assert number(memory, special.gdt.base + 8, 8) == 0x00AF9B000000FFFF
        assert special.cr3 == LOW + layout.PAGE_TABLES
        directories = number(memory, special.cr3, 8) & ~0xFFF
        assert number(memory, number(memory, directories, 8) & ~0xFFF, 8) == 0x83
        assert registers.rsp == LOW + layout.STACK_TOP - 8
        assert read_start_info(memory, registers.rdi).command_line == b"line"


def test_all_that_multiboot_tells_moves_along() -> None:
    image = flat(header_addr=0x7040, load_addr=0x7000, entry_addr=0x7060)
    with guest_memory(MEMORY) as memory, open_kernel(image) as kernel:
        registers, _ = kernel.load(memory, command_line=b"line")
        assert registers.rbx == LOW + layout.START_INFO
        information = read_information(memory, registers.rbx)
        assert information.command_line == b"<bytes> line"
        assert len(information.memory_map) == 3
        assert information.loader == b"ringlet"


EXIT = b"\xe6\xf4"  # out 0xf4, al
# mov eax, [ebx + 16]; mov al, [eax + 8]: behind "<bytes> "
MULTIBOOT = header() + b"\x8b\x43\x10\x8a\x40\x08" + EXIT
PVH = b"\x8b\x43\x18\x8a\x00" + EXIT  # mov eax, [ebx + 24]; mov al, [eax]
# mov rax, [rdi + 24]; push rax; pop rcx; mov al, [rcx]
ELF64 = b"\x48\x8b\x47\x18\x50\x59\x8a\x01" + EXIT


@pytest.mark.needs_kvm
@pytest.mark.parametrize(
    "image",
    [
        build(32, [Part(0x7000, MULTIBOOT, 0x2000)], entry=0x7000 + len(header())),
        build(32, [Part(0x7000, PVH, 0x2000), pvh_note(0x7000)]),
        build(64, [Part(0x6000, ELF64, 0x9000), Part(0, b"x", 0x6000)], entry=0x6000),
    ],
    ids=["multiboot", "pvh", "elf64"],
)
def test_a_kernel_in_the_boot_datas_usual_place_runs_and_reads_its_command_line(
    image: bytearray,
) -> None:
    config = MachineConfig(image=bytes(image), cmdline="*", serial="none", timeout=60)
    with Machine(config) as machine:
        result = machine.run()
    assert (result.reason, result.status) == ("exit-port", ord("*"))
