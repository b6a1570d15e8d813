"""A report's strings and numbers as they are shown."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.compare.words import clean, heading, number, quantity, slug

ANY_TEXT = st.text(st.characters(), max_size=60)  # surrogates are among them


@given(ANY_TEXT, st.integers(1, 80))
def test_a_string_becomes_one_printable_line_of_a_bounded_length(text: str, most: int) -> None:
    for line in (clean(text, most), heading(text, most)):
        assert line.isprintable()
        assert len(line.encode()) <= 4 * max(most, 3 * most)
    assert len(clean(text, most)) <= most


def test_what_turns_or_hides_the_text_after_it_is_replaced() -> None:
    assert clean("a\u202eb\x1b[2Jc\x00d\ud800e") == "a\ufffdb\ufffd[2Jc\ufffdd\ufffde"
    assert clean(" two\n\tlines ") == "two lines"


@given(ANY_TEXT)
def test_a_slug_can_stand_in_a_command_and_in_an_anchor(text: str) -> None:
    assert set(slug(text)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert slug(text).strip("-")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"), (1, "1"), (100, "100"), (1234.6, "1,235"), (0.5, "0.500"), (9.996, "10.00"),
        (-3.14159, "-3.14"), (0.00012345, "0.000123"), (1e-9, "1.00e-9"), (3e300, "3.00e300"),
        (math.nan, "none"), (-math.inf, "none"),
    ],
)  # fmt: skip
def test_a_number_has_three_digits_that_count(value: float, shown: str) -> None:
    assert number(value) == shown


@given(st.floats(-1e308, 1e308))
def test_a_number_is_short_and_near_to_what_it_shows(value: float) -> None:
    shown = number(value)
    assert len(shown) <= 11
    assert math.isclose(float(shown.replace(",", "")), value, rel_tol=0.006)


def test_a_unit_is_written_as_people_do() -> None:
    assert quantity(1.5, "us") == "1.50 µs"
    assert quantity(3, "") == "3"
