import pytest

from ringlet.boot import open_kernel
from ringlet.machine.guests import packaged
from ringlet.observe.inspection.dry_load import load
from ringlet.observe.inspection.entry_code import EntryFacts, entry_facts, first_instructions, read

from ...boot.elf_builder import Part, build, pvh_note


def facts(image: bytes | bytearray | str) -> EntryFacts:
    with open_kernel(image if isinstance(image, str) else bytes(image)) as kernel:
        return entry_facts(kernel, load(kernel, 64 << 20))


def texts(code: bytes, bits: int) -> list[str]:
    return [each.text for each in first_instructions(code, 0x1000, bits)]


def test_the_mode_and_the_registers_are_those_that_the_loader_sets() -> None:
    code = Part(0x100000, b"\xfa\xf4")
    pvh = facts(build(64, [code, pvh_note(0x100001)]))
    assert (pvh.address, pvh.bits, pvh.registers) == (0x100001, 32, {"rbx": 0x7000})
    long_mode = facts(build(64, [code]))
    assert (long_mode.address, long_mode.bits) == (0x100000, 64)
    assert long_mode.registers == {"rdi": 0x7000, "rsp": 0x5FF8}
    flat = facts(b"\xf4".ljust(510, b"\0") + b"\x55\xaa")
    assert (flat.address, flat.bits, flat.registers["rdx"]) == (0x7C00, 16, 0x80)


def test_instructions_are_those_of_the_mode() -> None:
    assert texts(b"\x48\x89\xc3\xf4", 64) == ["mov rbx, rax", "hlt"]
    assert texts(b"\x48\x89\xc3\xf4", 32) == ["dec eax", "mov ebx, eax", "hlt"]
    assert texts(b"\xb8\x01\x00\xf4", 16) == ["mov ax, 1", "hlt"]


def test_bytes_that_are_no_code_are_shown_as_bytes() -> None:
    shown = first_instructions(b"\x06\xff\xff\xf4", 0x1000, 64)
    assert [each.bytes for each in shown[:2]] == ["06", "ff"]
    assert {each.text for each in shown[:2]} == {"no instruction"}


def test_no_more_than_eight_and_nothing_after_a_jump_or_a_return() -> None:
    assert len(texts(b"\x90" * 120, 64)) == 8
    assert texts(b"\xeb\xfe\x06", 64) == ["jmp 0x1000"]
    assert texts(b"\xc3\x06", 64) == ["ret"]
    assert texts(b"\x74\x00\xf4", 64) == ["je 0x1002", "hlt"]
    assert texts(b"", 64) == []


def test_an_entry_in_bss_has_no_bytes_in_the_file() -> None:
    image = build(64, [Part(0x100000, b"\xf4" * 16, 0x1000)], entry=0x100800)
    assert facts(image).code == []


def test_bytes_end_with_their_segment() -> None:
    image = build(64, [Part(0x100000, b"\x90\xf4"), Part(0x200000, b"other")])
    with open_kernel(bytes(image)) as kernel:
        assert read(kernel, 0x100000, 100) == b"\x90\xf4"
        assert read(kernel, 0x100001, 1) == b"\xf4"
        assert read(kernel, 0x200000, 100) == b"other"
        assert read(kernel, 0x100002, 100) == b""


@pytest.mark.parametrize("name", ["smp", "rings"])
def test_a_guest_with_symbols_names_its_first_function(name: str) -> None:
    assert facts(packaged(name)).symbol == "pvh_start"
