from hypothesis import given
from hypothesis import strategies as st

from ringlet.host.printable import printable


@given(st.text() | st.binary(), st.integers(1, 50))
def test_any_text_is_one_printable_line_of_bounded_length(text: str | bytes, most: int) -> None:
    line = printable(text, most)
    assert line.isprintable()
    assert len(line) <= most


@given(st.text(st.characters(categories=["L", "N", "P"]), max_size=50))
def test_printable_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text
    assert printable(text.encode()) == text


def test_what_a_terminal_obeys_is_replaced() -> None:
    assert printable("a\x1b[31mb\nc\u202ed") == "a\ufffd[31mb\ufffdc\ufffdd"
    assert printable(b"\xffx") == "\ufffdx"
    assert printable("x" * 300, 10) == "x" * 9 + "…"
