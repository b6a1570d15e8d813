"""GDT and IDT decoded: by hand, of a real guest, and of any bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.kvm.registers import DescriptorTable, Segment, SpecialRegisters
from ringlet.observe.console.tables import gdt, gdt_lines, idt, idt_lines

SEGMENT = Segment()
PE, LMA = 1, 1 << 10


def special(cr0: int, efer: int, size: int, **changes: Segment) -> SpecialRegisters:
    table = DescriptorTable(0x1000, size - 1)
    made = SpecialRegisters(*[SEGMENT] * 8, gdt=table, idt=table, cr0=cr0, efer=efer)
    return made._replace(**changes)


def reader(data: bytes):
    """Memory that has `data` at 0x1000, and nothing else."""

    def read(address: int, size: int) -> bytes:
        start = address - 0x1000
        return data[start : start + size] if start >= 0 else b""

    return read


def table(*entries: int, size: int = 8) -> bytes:
    return b"".join(entry.to_bytes(size, "little") for entry in entries)


# The descriptors of the guests (guests/lib/ring3.c), and those of a flat 32-bit kernel.
LONG_GDT = table(
    0,
    0x00209B0000000000,
    0x0000930000000000,
    0x0000F30000000000,
    0x0020FB0000000000,
    0x00008B1051400067,  # 64-bit TSS, busy
    0x0000000000000012,
)


def test_the_gdt_of_long_mode_has_segments_without_limits_and_a_tss_of_16_bytes() -> None:
    segments = special(PE, LMA, len(LONG_GDT), cs=Segment(selector=0x23), tr=Segment(selector=0x28))
    assert gdt_lines(segments, reader(LONG_GDT)) == [
        "GDT at 0x1000, 7 entries",
        "  0x0000  the null descriptor (0x0)",
        "  0x0008  code, 64-bit, execute and read, ring 0",
        "  0x0010  data, read and write, ring 0",
        "  0x0018  data, read and write, ring 3",
        "  0x0020  code, 64-bit, execute and read, ring 3  <- cs",
        "  0x0028  64-bit TSS, busy, ring 0, base 0x1200105140, limit 0x67  <- tr",
    ]


def test_the_gdt_of_protected_mode_has_bases_and_limits() -> None:
    data = table(0, 0x00CF9B000000FFFF, 0x00009200B8000FFF | 0xB << 32, 0, 0x00008400_00100000 | 8)
    lines = gdt_lines(special(PE, 0, len(data)), reader(data))
    assert (
        lines[2] == "  0x0008  code, 32-bit, execute and read, ring 0, base 0x0, limit 0xffffffff"
    )
    assert "data, read and write, ring 0, base 0xb" in lines[3]
    assert lines[4].startswith("  0x0020  16-bit call gate to 0x10:0x8, ring 0")
    assert len(lines) == 5  # the entry of zeros isn't there


def test_real_mode_doesnt_use_the_gdt() -> None:
    lines = gdt_lines(special(0, 0, 8), reader(bytes(8)))
    assert lines == ["GDT at 0x1000, 1 entries; real mode doesn't use the GDT"]


def test_the_idt_of_long_mode_names_exceptions_and_handlers() -> None:
    gate = 0x0010_8E01_0008_2345
    entries = {3: gate | 3 << 45, 14: gate | 0xFFFF8000 << 64, 32: 0x0010_8F00_0008_0000}
    data = table(*[entries.get(vector, 0) for vector in range(40)], size=16)
    lines = idt_lines(special(PE, LMA, len(data)), reader(data), lambda at: f"f_{at:x}")
    assert lines == [
        "IDT at 0x1000, 40 entries",
        "  0x00 to 0x02: not present",
        "  0x03  #BP, breakpoint: 64-bit interrupt gate to 0x0008:0x102345 (f_102345), "
        "`int` from ring 3, stack 1 of the TSS",
        "  0x04 to 0x0d: not present",
        "  0x0e  #PF, page fault: 64-bit interrupt gate to 0x0008:0xffff800000102345 "
        "(f_ffff800000102345), `int` from ring 0, stack 1 of the TSS",
        "  0x0f to 0x1f: not present",
        "  0x20  interrupt 0x20: 64-bit trap gate to 0x0008:0x100000 (f_100000), `int` from ring 0",
        "  0x21 to 0x27: not present",
    ]


def test_the_interrupt_table_of_real_mode_has_far_pointers() -> None:
    lines = idt_lines(special(0, 0, 8), reader(table(0xF000_FF53, 0x1234, size=4)), hex)
    assert lines == [
        "interrupt table of real mode at 0x1000, 2 entries",
        "  0x00  #DE, divide error: 0xf000:0xff53 (0xfff53)",
        "  0x01  #DB, debug exception: 0x0000:0x1234 (0x1234)",
    ]


def test_entries_in_a_row_that_are_alike_share_a_line() -> None:
    data = table(*[0x0010_8E00_0008_2345] * 3, 0x0010_8E00_0008_2346)
    assert idt_lines(special(PE, 0, len(data)), reader(data))[1:] == [
        "  0x00 to 0x02: 32-bit interrupt gate to 0x0008:0x102345, `int` from ring 0",
        "  0x03  #BP, breakpoint: 32-bit interrupt gate to 0x0008:0x102346, `int` from ring 0",
    ]


def test_the_idt_of_protected_mode_may_have_task_gates() -> None:
    data = table(0x0010_8E00_0008_2345, 0x0000_8500_0028_0000, 0x0000_8200_0000_0000)
    kinds = [gate.kind for gate in idt(special(PE, 0, len(data)), reader(data))]
    assert kinds == ["32-bit interrupt gate", "task gate", "not a gate (type 2)"]


def test_a_table_without_memory_is_said_so() -> None:
    nowhere = reader(b"")
    assert "no memory is there" in gdt_lines(special(PE, 0, 0x10000), nowhere)[1]
    rows = idt_lines(special(PE, LMA, 0x10000), nowhere)
    assert rows[1] == "  no memory is there: an exception is a triple fault"
    rows = idt_lines(special(PE, LMA, 1), nowhere)
    assert rows[1] == "  it is empty: an exception is a triple fault"


@given(
    data=st.binary(max_size=600),
    cr0=st.sampled_from([0, PE]),
    efer=st.sampled_from([0, LMA]),
    limit=st.integers(0, 0xFFFF),
)
def test_any_bytes_decode_to_bounded_lines(data: bytes, cr0: int, efer: int, limit: int) -> None:
    registers = special(cr0, efer, limit + 1)
    lines = gdt_lines(registers, reader(data)) + idt_lines(registers, reader(data))
    assert all(line.isprintable() and len(line) < 200 for line in lines)
    assert len(gdt(registers, reader(data))) <= len(data) // 8
    assert len(idt(registers, reader(data))) <= 256


@pytest.mark.parametrize("limit", [0xFFFF, 0xFFFFFFFF])
def test_the_largest_tables_are_read_once_and_bounded(limit: int) -> None:
    data = b"\xff" * 0x10000
    registers = special(PE, LMA, 0)._replace(
        gdt=DescriptorTable(0x1000, min(limit, 0xFFFF)), idt=DescriptorTable(0x1000, limit)
    )
    assert len(gdt(registers, reader(data))) == 8192
    assert len(idt(registers, reader(data))) == 256
