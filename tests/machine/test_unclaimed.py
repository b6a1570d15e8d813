"""The first access that no device claims is told with the instruction that made the access."""

import pytest

from ringlet import Result

from ..machine_code import (
    EXIT,
    IN_AX_DX,
    MOV_DX_PORT,
    OUT_DX_AL,
    OUT_DX_EAX,
    READ_AND_EXIT,
    exit_with,
    protected,
    run,
)

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]
HOLE = (0xD800_0000).to_bytes(4, "little")


def told(result: Result) -> str:
    assert result.first_unclaimed is not None
    return str(result.first_unclaimed)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (READ_AND_EXIT, "a read of 1 byte from port 0x700, by `in al, dx` at 0x7c03"),
        (
            MOV_DX_PORT + IN_AX_DX + EXIT,
            "a read of 2 bytes from port 0x700, by `in ax, dx` at 0x7c03",
        ),
        (
            MOV_DX_PORT + b"\xb0\x05" + OUT_DX_AL + EXIT,
            "a write of 1 byte (0x5) to port 0x700, by `out dx, al` at 0x7c05",
        ),
        (
            MOV_DX_PORT + b"\x66\xb8\x78\x56\x34\x12" + OUT_DX_EAX + EXIT,
            "a write of 4 bytes (0x12345678) to port 0x700, by `out dx, eax` at 0x7c09",
        ),
        # mov al, 9; out 0x80, al
        (
            b"\xb0\x09\xe6\x80" + EXIT,
            "a write of 1 byte (0x9) to port 0x80, by `out 0x80, al` at 0x7c02",
        ),
    ],
)
def test_a_port(code: bytes, said: str) -> None:
    assert told(run(code)) == said


@pytest.mark.parametrize(
    ("code", "access", "instruction"),
    [
        (b"\xa0" + HOLE, "a read of 1 byte", "mov al, byte ptr [0xd8000000]"),
        # mov ebx, HOLE; then mov [ebx], eax; mov word [ebx], 0x1234; or byte [ebx + 4], 1
        (b"\xbb" + HOLE + b"\x89\x03", "a write of 4 bytes", "mov dword ptr [ebx], eax"),
        (
            b"\xbb" + HOLE + b"\x66\xc7\x03\x34\x12",
            "a write of 2 bytes",
            "mov word ptr [ebx], 0x1234",
        ),
        (b"\xbb" + HOLE + b"\x80\x4b\x04\x01", "a read of 1 byte", "or byte ptr [ebx + 4], 1"),
    ],
)
def test_an_address(code: bytes, access: str, instruction: str) -> None:
    said = told(run(protected(code + exit_with(0)), protocol=None))
    assert said.startswith(access)
    assert f", where no RAM and no device is, by `{instruction}` at 0x10000" in said


def test_only_the_first_is_kept() -> None:
    result = run(MOV_DX_PORT + b"\xec\x42\xec\x42\xec" + EXIT)
    assert result.unclaimed == {"reads": 3, "writes": 0}
    assert "port 0x700, by" in told(result)


def test_code_at_the_first_byte_of_memory_is_no_trouble() -> None:
    # push bp (0xec at 0): far jump to 0:0 after `in al, dx` was put there; then out 0xf4
    code = b"\xc6\x06\x00\x00\xec\xc7\x06\x01\x00\xe6\xf4" + MOV_DX_PORT + b"\xea\0\0\0\0"
    assert told(run(code)) == "a read of 1 byte from port 0x700, by `in al, dx` at 0x0"


def test_a_run_without_such_accesses_has_none() -> None:
    assert run(exit_with(0)).first_unclaimed is None
