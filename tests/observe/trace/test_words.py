import pytest

from ringlet.observe.trace.words import aligned, duration, rate


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ns"), (1e-9, "1 ns"), (999e-9, "999 ns"), (999.9e-9, "1.00 µs"),
        (9.12e-6, "9.12 µs"), (99.94e-6, "99.9 µs"), (99.96e-6, "100 µs"), (1.5, "1.50 s"),
        (0.9996, "1.00 s"), (12345.0, "12,345 s"),
    ],
)  # fmt: skip
def test_a_duration_has_three_digits_and_a_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_rate_has_a_decimal_only_if_it_is_small() -> None:
    assert [rate(value) for value in (0.04, 1.0, 9.94, 9.96, 12345.6)] == [
        "0.0", "1.0", "9.9", "10", "12,346",
    ]  # fmt: skip


def test_columns_are_aligned_and_an_empty_row_is_an_empty_line() -> None:
    rows = [("a", "1", "x"), (), ("bcd", "22", "")]
    assert aligned(rows, right=(1,)) == ["a     1  x", "", "bcd  22"]
