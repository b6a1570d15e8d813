import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet import Machine, MachineConfig
from ringlet.board import layout
from ringlet.boot import open_image, open_kernel
from ringlet.boot.multiboot import Header, find_header
from ringlet.errors import ConfigError, ImageError, RingletError

from .elf_builder import Part, build, header_fields
from .guest import boot_data_beside, guest_memory, written_outside
from .multiboot_builder import ADDRESSES, boot, flat, header, read_information

BOOT_DATA = boot_data_beside([], layout.START_INFO)
CODE = Part(0x100000, header() + b"\xf4" * 52)


def refused(
    image: bytes | bytearray,
    message: str,
    *,
    error: type[RingletError] = ImageError,
    memory: int = 4 << 20,
) -> None:
    with guest_memory(memory) as guest:
        with pytest.raises(error, match=re.escape(message)) as caught:
            boot(image, guest)
        assert not written_outside(guest, [])
    assert "\n" not in caught.value.message + caught.value.hint
    assert caught.value.hint


def found(data: bytes) -> Header | None:
    with open_image(data) as image:
        return find_header(image)


# The header.


@pytest.mark.parametrize("offset", [0, 4, 100, 8180])
def test_the_header_is_found_4_byte_aligned_in_the_first_8192_bytes(offset: int) -> None:
    assert found(bytes(offset) + header(3)) == (offset, 3, None)
    assert found(bytes(offset) + header(3) + bytes(10000)) == (offset, 3, None)


@pytest.mark.parametrize("offset", [1, 2, 3, 8181, 8184, 8192, 9000])
def test_a_header_elsewhere_is_none(offset: int) -> None:
    assert found(bytes(offset) + header(3) + bytes(10000)) is None


def test_a_header_with_a_wrong_checksum_is_none_and_the_next_one_counts() -> None:
    wrong = header(3, checksum=1)
    assert found(wrong) is None
    assert found(wrong + header(2)) == (12, 2, None)
    assert found(header()[:4] + header(2)) == (4, 2, None)  # the magic number twice in a row


def test_a_header_that_the_file_cuts_short_is_none() -> None:
    for size in range(1, 12):
        assert found(header()[:size]) is None


def test_the_first_header_counts() -> None:
    assert found(header(1) + header(2)) == (0, 1, None)


def test_address_fields_belong_to_the_header_when_bit_16_says_so() -> None:
    assert found(header(ADDRESSES | 3, 1, 2, 3, 4, 5)) == (0, ADDRESSES | 3, (1, 2, 3, 4, 5))
    assert found(header(3, 1, 2, 3, 4, 5)) == (0, 3, None)


def test_address_fields_beyond_the_file_or_the_first_8192_bytes_are_refused() -> None:
    whole = header(ADDRESSES, 1, 2, 3, 4, 5)
    for size in range(12, 32):
        refused(whole[:size], "it is cut short")
    assert found(bytes(8160) + whole) is not None
    refused(bytes(8164) + whole, "it is cut short, at 0x1fe4 of 0x2000 bytes")


@given(st.lists(st.sampled_from([b"\0", header(3), header(3)[:4], header(3)[:8], b"\x02\xb0"])))
def test_the_header_found_is_the_first_of_all_that_are_right(pieces: list[bytes]) -> None:
    image = b"x" + b"".join(pieces)
    right = [at for at in range(0, len(image), 4) if image[at : at + 12] == header(3)]
    assert found(image) == ((right[0], 3, None) if right else None)


@pytest.mark.parametrize("bit", range(3, 16))
def test_an_unknown_requirement_is_refused(bit: int) -> None:
    refused(build(32, [Part(0x100000, header(1 << bit | 3))]), f"flags {1 << bit:#x}")


def test_a_required_video_mode_is_refused() -> None:
    refused(build(32, [Part(0x100000, header(7))]), "requires a video mode")


@pytest.mark.parametrize("flags", [0, 1, 2, 3, 0xFFFE0003])
def test_what_is_known_or_optional_is_taken(flags: int) -> None:
    with guest_memory(4 << 20) as memory:
        assert boot(build(32, [Part(0x100000, header(flags))]), memory)


def test_an_image_without_a_header_is_refused() -> None:
    refused(build(32, [Part(0x100000, bytes(64))]), "has no Multiboot header")
    refused(b"x", "has no Multiboot header")


# The state at entry.


@pytest.mark.parametrize("image", [build(32, [CODE], entry=0x100010), flat(entry_addr=0x100010)])
def test_the_state_is_that_of_the_specification(image: bytes) -> None:
    with guest_memory(4 << 20) as memory:
        registers, special = boot(image, memory)
    assert (registers.rip, registers.rax, registers.rbx) == (0x100010, 0x2BADB002, 0x7000)
    assert registers.rflags == 2  # interrupts off
    assert (special.cr0, special.cr3, special.cr4, special.efer) == (0x11, 0, 0, 0)
    code = special.cs
    assert (code.base, code.limit, code.type, code.present) == (0, 0xFFFFFFFF, 0xB, 1)
    assert (code.s, code.dpl, code.db, code.l, code.g) == (1, 0, 1, 0, 1)
    for data in (special.ds, special.es, special.fs, special.gs, special.ss):
        assert (data.base, data.limit, data.type, data.present) == (0, 0xFFFFFFFF, 3, 1)
        assert (data.s, data.dpl, data.db, data.g) == (1, 0, 1, 1)


# ELF.


def test_an_elf_goes_to_its_physical_addresses() -> None:
    data = Part(0x200000, b"data", 0x3000, virtual=0xC0200000)
    with guest_memory(4 << 20) as memory:
        boot(build(32, [CODE, data]), memory)
        assert memory.read(0x100000, len(CODE.data)) == CODE.data
        assert memory.read(0x200000, 5) == b"data\0"
        ranges = [BOOT_DATA, (0x100000, len(CODE.data)), (0x200000, 4)]
        assert not written_outside(memory, ranges)


@pytest.mark.parametrize("entry", [0x100010, 0xC0100010])
def test_the_entry_point_of_an_upper_half_kernel_may_be_physical_or_virtual(entry: int) -> None:
    with guest_memory(4 << 20) as memory:
        image = build(32, [CODE._replace(virtual=0xC0100000)], entry=entry)
        assert boot(image, memory).registers.rip == 0x100010


def test_an_entry_point_in_no_segment_is_refused() -> None:
    refused(build(32, [CODE], entry=0x100040), "entry point 0x100040 is in no segment")
    high = CODE._replace(virtual=0xC0100000)
    refused(build(32, [high], entry=0xC0100040), "entry point 0xc0100040 is in no segment")


def test_a_64_bit_elf_is_refused_without_address_fields_and_taken_with_them() -> None:
    refused(build(64, [CODE]), "is a 64-bit ELF")
    at = len(build(64, [Part(0, b"")]))
    fields = header(ADDRESSES, 0x100000 + at, 0x100000, 0, 0x101000, 0x100000 + at + 32)
    image = build(64, [Part(0x300000, fields + b"\xf4")])
    with guest_memory(4 << 20) as memory:
        assert boot(image, memory).registers.rip == 0x100000 + at + 32
        assert memory.read(0x100000, len(image)) == image
        assert not written_outside(memory, [BOOT_DATA, (0x100000, len(image))])


def test_a_position_independent_elf_goes_where_its_program_headers_say() -> None:
    image = bytes(build(32, [CODE, Part(0x200000, b"data")], entry=0x100010, kind=3))
    with guest_memory(4 << 20) as memory, open_kernel(image) as kernel:
        assert kernel.protocol == "multiboot"
        assert kernel.load(memory).registers.rip == 0x100010
        assert memory.read(0x200000, 4) == b"data"
    low = CODE._replace(address=0)
    refused(build(32, [low], entry=0x10, kind=3), "is a shared object or a position-independent")
    refused(build(64, [CODE], kind=3), "is a 64-bit ELF")


@pytest.mark.needs_gcc
@pytest.mark.needs_kvm
def test_a_position_independent_kernel_of_a_real_linker_runs(tmp_path: Path) -> None:
    source, script, kernel = (tmp_path / name for name in ("k.S", "k.ld", "kernel"))
    source.write_text(
        """
        .section .multiboot, "a"
        .long 0x1badb002, 0, -0x1badb002
        .text
        .globl _start
        _start: cmp $0x2badb002, %eax
        jne 2f
        mov $0x9000, %esp
        call 1f
        1: pop %ebx
        mov status - 1b(%ebx), %al
        out %al, $0xf4
        2: hlt
        .data
        .globl status
        .hidden status
        status: .byte 42
        """
    )
    script.write_text(
        """
        ENTRY(_start)
        SECTIONS {
            . = 0x10000 + SIZEOF_HEADERS;
            .multiboot : { *(.multiboot) }
            .text : { *(.text) }
            .data : { *(.data) }
        }
        """
    )
    flags = ("-m32", "-nostdlib", "-shared", "-fPIC", "-Wl,--build-id=none", "-Wl,-Bsymbolic")
    subprocess.run(["gcc", *flags, "-T", script, "-o", kernel, source], check=True)
    assert header_fields(32)["e_type"].get(kernel.read_bytes()) == 3
    with Machine(MachineConfig(image=kernel, serial="none", timeout=60)) as machine:
        result = machine.run()
    assert (result.reason, result.status) == ("exit-port", 42)


def test_what_is_neither_an_elf_nor_has_address_fields_is_refused() -> None:
    refused(header(3) + b"\xf4", "is not an ELF")


def test_a_kernel_beyond_the_memory_is_refused() -> None:
    image = build(32, [CODE, Part(0x500000, b"x")])
    refused(image, "needs 6 MiB of memory", error=ConfigError)


@pytest.mark.needs_gcc
def test_the_elf_of_a_real_linker_with_the_layout_of_an_upper_half_kernel_boots(
    tmp_path: Path,
) -> None:
    source, script, kernel = (tmp_path / name for name in ("k.S", "k.ld", "kernel"))
    source.write_text(
        """
        .section .multiboot, "a"
        .long 0x1badb002, 3, -(0x1badb002 + 3)
        .text
        nop
        .globl _start
        _start: hlt
        .data
        .ascii "data"
        .bss
        .skip 0x5000
        """
    )
    script.write_text(
        """
        ENTRY(_start)
        SECTIONS {
            . = 0xc0100000;
            .multiboot : AT(ADDR(.multiboot) - 0xc0000000) { *(.multiboot) }
            .text : AT(ADDR(.text) - 0xc0000000) { *(.text) }
            . = ALIGN(0x1000);
            .data : AT(ADDR(.data) - 0xc0000000) { *(.data) }
            .bss : AT(ADDR(.bss) - 0xc0000000) { *(.bss) }
            /DISCARD/ : { *(.note.gnu*) }
        }
        """
    )
    subprocess.run(
        [
            *("gcc", "-m32", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none"),
            *("-T", script, "-o", kernel, source),
        ],
        check=True,
    )
    with open_kernel(kernel) as opened, guest_memory(4 << 20) as memory:
        assert opened.protocol == "multiboot"
        entry = opened.load(memory)
        assert entry.registers.rip == 0x10000D
        assert memory.read(0x10000C, 2) == b"\x90\xf4"
        assert memory.read(0x101000, 5) == b"data\0"


# Address fields.


def loaded_at(image: bytes, address: int, start: int, size: int, memory_size: int = 0) -> None:
    """These bytes of it go to the address, and no others."""
    with guest_memory(4 << 20) as memory:
        boot(image, memory)
        after = bytes(max(0, memory_size - size))
        assert memory.read(address, size + len(after)) == image[start : start + size] + after
        assert not written_outside(memory, [BOOT_DATA, (address, size)])


def test_without_an_end_the_whole_rest_of_the_file_is_loaded() -> None:
    loaded_at(flat(), 0x100000, 0, 0x100)
    loaded_at(flat(load_addr=0x100020), 0x100020, 0x20, 0xE0)
    loaded_at(flat(load_addr=0x100040), 0x100040, 0x40, 0xC0)


def test_with_an_end_no_more_than_up_to_it_is_loaded() -> None:
    loaded_at(flat(load_end_addr=0x100061), 0x100000, 0, 0x61)
    loaded_at(flat(load_end_addr=0x100100), 0x100000, 0, 0x100)


def test_bss_is_zero_and_no_module_lies_in_it() -> None:
    image = flat(load_end_addr=0x100080, bss_end_addr=0x3FF001)
    loaded_at(image, 0x100000, 0, 0x80, 0x2FF001)
    with open_image(b"m") as module, guest_memory(4 << 20) as memory:
        with pytest.raises(ConfigError, match="doesn't fit"):
            boot(image, memory, modules=[(module, b"")])
        boot(flat(bss_end_addr=0x3FF000), memory, modules=[(module, b"")])
        assert read_information(memory).modules[0][:2] == (0x3FF000, 0x3FF001)


def test_the_entry_may_lie_in_bss() -> None:
    with guest_memory(4 << 20) as memory:
        image = flat(bss_end_addr=0x102000, entry_addr=0x101FFF)
        assert boot(image, memory).registers.rip == 0x101FFF


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"load_addr": 0x100041}, "load_addr 0x100041 is beyond header_addr 0x100040"),
        ({"load_addr": 0xFFFFFFFF}, "is beyond header_addr"),
        ({"load_addr": 0xFFFFF}, "load_addr 0xfffff is more than 0x40 bytes before header_addr"),
        ({"header_addr": 0xFFFFFFFF}, "is more than 0x40 bytes before header_addr"),
        ({"header_addr": 0, "load_addr": 0}, "is not within"),
        ({"load_end_addr": 0x100000}, "are 0x100000, 0x100000, 0x100000"),
        ({"load_end_addr": 0xFFFFF}, "are 0x100000, 0xfffff, 0xfffff"),
        ({"load_end_addr": 1}, "are 0x100000, 0x1, 0x1"),
        ({"bss_end_addr": 0x1000FF}, "are 0x100000, 0x100100, 0x1000ff"),
        ({"bss_end_addr": 1}, "are 0x100000, 0x100100, 0x1"),
        ({"load_end_addr": 0x100101}, "is cut short"),
        ({"load_end_addr": 0xFFFFFFFF}, "is cut short"),
        ({"entry_addr": 0xFFFFF}, "entry_addr 0xfffff is not within 0x100000 to 0x100100"),
        ({"entry_addr": 0x100100}, "is not within"),
        ({"entry_addr": 0}, "is not within"),
    ],
)
def test_contradictory_address_fields_are_refused(fields: dict[str, int], message: str) -> None:
    refused(flat(**fields), message)


def moved(address: int, **fields: int) -> bytes:
    return flat(header_addr=address + 0x40, load_addr=address, entry_addr=address, **fields)


def test_address_fields_beyond_the_memory_are_refused() -> None:
    refused(moved(0x3FFF01), "needs 5 MiB of memory", error=ConfigError)
    refused(moved(0x100000, bss_end_addr=0x400001), "needs 5 MiB", error=ConfigError)
    for address in (layout.MMIO_HOLE - 1, layout.MMIO_HOLE, 0xFEE00000, 0xFFFFFFBF):
        refused(moved(address), "outside the guest's memory")
    for address in (0, 0x5F01, layout.START_INFO, layout.BOOT_DATA_END, 0x3FFF00):
        with guest_memory(4 << 20) as memory:
            assert boot(moved(address), memory).registers.rip == address
