"""The names of exceptions, and error codes in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.kvm.exceptions import EXCEPTIONS, error_code_words, has_error_code, vector_name


@pytest.mark.parametrize(
    ("vector", "name"),
    [
        (0, "#DE, divide error"),
        (6, "#UD, invalid opcode"),
        (13, "#GP, general protection fault"),
        (14, "#PF, page fault"),
        (15, "reserved vector 0xf"),
        (0x20, "interrupt 0x20"),
        (0x80, "interrupt 0x80"),
    ],
)
def test_a_vector_has_a_name(vector: int, name: str) -> None:
    assert vector_name(vector) == name


def test_the_exceptions_with_an_error_code_are_those_of_the_manuals() -> None:
    with_code = [8, 10, 11, 12, 13, 14, 17, 21, 29, 30]
    assert [vector for vector in range(256) if has_error_code(vector)] == with_code


@pytest.mark.parametrize(
    ("vector", "code", "words"),
    [
        (14, 0, "a read of a page that isn't present, in ring 0, 1 or 2"),
        (14, 5, "a read of a page that forbids it, in ring 3"),
        (14, 7, "a write to a page that forbids it, in ring 3"),
        (14, 0x10, "an instruction fetch from a page that isn't present, in ring 0, 1 or 2"),
        (
            14,
            9,
            "a read of a page that forbids it, in ring 0, 1 or 2, "
            "a reserved bit is set in an entry of the page tables",
        ),
        (13, 0, "no selector"),
        (13, 0x18, "selector 0x18: entry 0x3 of the GDT"),
        (11, 0x2C, "selector 0x2c: entry 0x5 of the LDT"),
        (13, 0x80 << 3 | 2, "entry 0x80 of the IDT (interrupt 0x80)"),
        (
            11,
            0x20 << 3 | 3,
            "entry 0x20 of the IDT (interrupt 0x20); during an event from outside of the program",
        ),
        (21, 3, "no endbranch instruction"),
        (8, 0, ""),
        (6, 0, ""),
        (17, 0, ""),
    ],
)
def test_an_error_code_is_spelled_out(vector: int, code: int, words: str) -> None:
    assert error_code_words(vector, code) == words


@given(st.integers(0, 255), st.integers(0, (1 << 64) - 1))
def test_every_vector_and_every_code_is_one_line_of_text(vector: int, code: int) -> None:
    assert vector_name(vector).isprintable()
    words = error_code_words(vector, code)
    assert words == "" or words.isprintable()
    if vector not in EXCEPTIONS:
        assert words == ""
