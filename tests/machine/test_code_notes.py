"""What the code at RIP tells of a guest that hangs."""

import pytest

from ringlet.machine.assembly import disassemble
from ringlet.machine.code_notes import NO_CODE, note_on

AT = 0x1000


def note(code: bytes, bits: int = 64) -> str:
    return note_on(code, disassemble(code, AT, bits, 64))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (b"\xeb\xfe", "this code is an endless loop: it jumps to itself"),
        # pause; jmp to the pause
        (b"\xf3\x90\xeb\xfc", "this code is a loop, from 0x1000 to 0x1002"),
        # test al, al; je before the test, so RIP is in the middle
        (b"\x84\xc0\x74\xf0", "this code is a loop, from 0xff4 to 0x1002"),
        (b"\xe2\xfe", "this code is an endless loop: it jumps to itself"),  # loop
        # a jump forward that may not happen, then one backward
        (b"\x74\x10\xeb\xfc", "this code is a loop, from 0x1000 to 0x1002"),
    ],
)
def test_a_loop_is_told_with_its_first_and_last_instruction(code: bytes, said: str) -> None:
    assert note(code) == said


@pytest.mark.parametrize(
    "code",
    [
        b"",
        b"\xc3\xeb\xfd",  # ret; what stands behind is another function's
        b"\xeb\x10" + b"\xeb\xfc",  # jmp forward
        b"\xf4\xeb\xfd",  # hlt; jmp
        b"\x06\xeb\xfd",  # no instruction
        b"\xff\xe0",  # jmp rax: to where is not known
        b"\x90\xe9" + (-0x5000).to_bytes(4, "little", signed=True),  # too far back
        b"\0" * 7,
    ],
)
def test_other_code_tells_nothing(code: bytes) -> None:
    assert note(code) == ""


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_zeros_are_no_code(bits: int) -> None:
    assert note(bytes(8) + b"\xeb\xfe", bits) == NO_CODE
