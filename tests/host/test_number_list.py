"""Lists of processors, as the kernel writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.host.number_list import parse_numbers, parse_ranges


@given(st.sets(st.integers(0, 300)))
def test_numbers_are_read(numbers: set[int]) -> None:
    assert set(parse_numbers(",".join(map(str, numbers)))) == numbers


def test_ranges_are_read_with_the_spaces_around_a_number() -> None:
    assert parse_ranges("0-3, 7,9-9") == [(0, 3), (7, 7), (9, 9)]
    assert parse_numbers("0-3,7") == [0, 1, 2, 3, 7]
    assert parse_ranges("3-1") == [(3, 1)]
    assert parse_ranges("") == []


@pytest.mark.parametrize(
    "text", [",", "1,", "a", "1-", "-1", "1-2-3", "0x1", "\u0663", "9" * 6, " "]
)
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no number"):
        parse_numbers(text)
