"""Disassembly: bytes become instructions, and bytes that are none are shown as such."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.machine.assembly import NO_INSTRUCTION, Instruction, disassemble


@pytest.mark.parametrize(
    ("bits", "code", "text"),
    [
        (64, b"\x48\x89\xd8", "mov rax, rbx"),
        (32, b"\x89\xd8", "mov eax, ebx"),
        (16, b"\x89\xd8", "mov ax, bx"),
        (16, b"\xee", "out dx, al"),
    ],
)
def test_code_is_decoded_for_its_mode(bits: int, code: bytes, text: str) -> None:
    assert disassemble(code, 0x100, bits, 5) == [Instruction(0x100, code, text)]


def test_bytes_that_are_no_instruction_are_told_one_by_one() -> None:
    found = disassemble(b"\x90\x06\x90", 0x100, 64, 3)
    assert [each.text for each in found] == ["nop", NO_INSTRUCTION, "nop"]
    assert [each.address for each in found] == [0x100, 0x101, 0x102]


def test_a_jump_shows_its_target_address() -> None:
    assert disassemble(b"\xeb\xfe", 0x1000, 64, 1)[0].text == "jmp 0x1000"


@given(
    st.binary(max_size=64),
    st.sampled_from([16, 32, 64]),
    st.integers(0, 2**64 - 1),
    st.integers(1, 20),
)
def test_any_bytes_are_covered_in_order(code: bytes, bits: int, address: int, count: int) -> None:
    found = disassemble(code, address, bits, count)
    assert len(found) <= count
    covered = b"".join(each.code for each in found)
    assert code.startswith(covered)
    assert len(found) == count or covered == code
