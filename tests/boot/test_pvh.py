import subprocess
from pathlib import Path

import pytest

from ringlet.board import layout
from ringlet.boot import Entry, open_kernel
from ringlet.errors import ImageError
from ringlet.kvm.memory import GuestMemory

from .elf_builder import Part, build, note, notes, pvh_note
from .guest import guest_memory, read_start_info, written_outside

BOTH = pytest.mark.parametrize("bits", [32, 64])
CODE = Part(0x100000, b"\xf4" * 64)


def boot(image: bytes | bytearray, memory: GuestMemory, command_line: bytes = b"") -> Entry:
    with open_kernel(bytes(image), "pvh") as kernel:
        return kernel.load(memory, command_line=command_line)


def refused(image: bytes | bytearray, message: str) -> None:
    with guest_memory(4 << 20) as memory:
        with pytest.raises(ImageError, match=message):
            boot(image, memory)
        assert not written_outside(memory, [])


@BOTH
@pytest.mark.parametrize("size", [4, 8])
def test_the_entry_is_the_notes_and_ebx_the_start_info(bits: int, size: int) -> None:
    image = build(bits, [CODE, pvh_note(0x100010, size)], entry=0xDEAD)
    with guest_memory(4 << 20) as memory:
        registers = boot(image, memory, b"hello").registers
        assert registers.rip == 0x100010
        assert registers.rbx == layout.START_INFO
        assert registers.rflags == 2
        assert read_start_info(memory, registers.rbx).command_line == b"hello"
        assert memory.read(0x100000, 64) == CODE.data
        boot_data = layout.BOOT_DATA_END - layout.BOOT_DATA
        assert not written_outside(memory, [(layout.BOOT_DATA, boot_data), (0x100000, 64)])


def test_the_state_is_that_of_the_direct_boot_abi() -> None:
    with guest_memory(4 << 20) as memory:
        special = boot(build(32, [CODE, pvh_note(0x100000)]), memory).special
    assert (special.cr0, special.cr3, special.cr4, special.efer) == (0x11, 0, 0, 0)
    code = special.cs
    assert (code.base, code.limit, code.type, code.present) == (0, 0xFFFFFFFF, 0xB, 1)
    assert (code.s, code.dpl, code.db, code.l, code.g) == (1, 0, 1, 0, 1)
    for data in (special.ds, special.es, special.fs, special.gs, special.ss):
        assert (data.base, data.limit, data.type, data.present) == (0, 0xFFFFFFFF, 3, 1)
        assert (data.s, data.dpl, data.db, data.g) == (1, 0, 1, 1)
    task = special.tr
    assert (task.base, task.limit, task.type, task.present, task.s) == (0, 0x67, 0xB, 1, 0)


@BOTH
def test_the_note_is_found_among_others(bits: int) -> None:
    data = (
        note(b"12345", name=b"GNU\0", kind=18)
        + note(b"\xff\xff\xff\xff", kind=17)
        + note((0x100020).to_bytes(4, "little"))
    )
    image = build(bits, [notes(note(b"x", name=b"L\0")), CODE, notes(data)])
    with guest_memory(4 << 20) as memory:
        assert boot(image, memory).registers.rip == 0x100020


@BOTH
def test_an_elf_without_the_note_is_refused(bits: int) -> None:
    refused(build(bits, [CODE]), "has no PVH note")
    refused(build(bits, [CODE, notes(note(b"1234", name=b"Xen"))]), "has no PVH note")


@BOTH
@pytest.mark.parametrize("size", [0, 2, 5, 16])
def test_a_descriptor_of_another_size_is_refused(bits: int, size: int) -> None:
    refused(build(bits, [CODE, notes(note(bytes(size)))]), f"its PVH note has {size} bytes")


def test_an_entry_beyond_32_bits_is_refused_even_in_a_segment() -> None:
    high = Part(layout.MMIO_HOLE_END, b"code")
    with guest_memory((3 << 30) + 0x1000) as memory, pytest.raises(ImageError, match="32 bits"):
        boot(build(64, [CODE, high, pvh_note(layout.MMIO_HOLE_END, 8)]), memory)


def test_an_entry_in_no_segment_is_refused() -> None:
    refused(build(64, [CODE, pvh_note(0x100040)]), "entry point 0x100040 is in no segment")


def test_the_elf_of_a_real_linker_with_the_layout_of_a_kernel_boots(tmp_path: Path) -> None:
    source, script, kernel = (tmp_path / name for name in ("k.S", "k.ld", "kernel"))
    source.write_text(
        """
        .section .note.xen, "a", @note
        .long 4, 4, 18
        .asciz "Xen"
        .long start - 0xffffffff80000000
        .text
        .code32
        .globl start
        nop
        start: hlt
        .section .percpu, "aw"
        .ascii "percpu"
        .bss
        .skip 0x5000
        """
    )
    script.write_text(
        """
        PHDRS { text PT_LOAD; percpu PT_LOAD; bss PT_LOAD; note PT_NOTE; }
        SECTIONS {
            . = 0xffffffff80100000;
            .text : AT(0x100000) { *(.text) } :text
            .note : AT(0x101000) { *(.note.*) } :text :note
            .percpu 0 : AT(0x102000) { *(.percpu) } :percpu
            . = 0xffffffff80103000;
            .bss : AT(0x103000) { *(.bss) } :bss
            /DISCARD/ : { *(.note.gnu*) }
        }
        """
    )
    subprocess.run(
        [
            *("gcc", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none"),
            *("-T", script, "-o", kernel, source),
        ],
        check=True,
    )
    with open_kernel(kernel) as opened, guest_memory(4 << 20) as memory:
        assert opened.protocol == "pvh"
        entry = opened.load(memory)
        assert entry.registers.rip == 0x100001
        assert memory.read(0x100000, 2) == b"\x90\xf4"
        assert memory.read(0x102000, 7) == b"percpu\0"
