"""The summary: its numbers are those of the events, from memory that is bounded."""

from statistics import median_low

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.observe.exits.exit_event import EXITS
from ringlet.observe.trace.summary import Summary, Times, bars

from ..samples import EXIT, HOSTILE, exit, summary

NANOSECONDS = st.lists(st.integers(0, 10**12), min_size=1, max_size=50)


def times(values: list[int]) -> Times:
    made = Times()
    for value in values:
        made.add(value)
    return made


@given(NANOSECONDS)
def test_count_and_worst_are_exact_and_the_median_is_within_four_percent(values: list[int]) -> None:
    made = times(values)
    assert (made.count, made.worst) == (len(values), max(values))
    assert made.median == pytest.approx(median_low(values), rel=0.04)


@given(NANOSECONDS)
def test_the_histogram_has_each_time_in_the_bucket_of_its_power_of_two(values: list[int]) -> None:
    histogram = times(values).histogram
    expected: dict[int, int] = {}
    for value in values:
        bucket = max(value.bit_length() - 1, 0)
        expected[bucket] = expected.get(bucket, 0) + 1
    assert histogram == expected


@given(NANOSECONDS, NANOSECONDS)
def test_times_that_are_put_together_are_the_times_of_all(one: list[int], other: list[int]) -> None:
    both = times(one)
    both.add_all(times(other))
    together = times(one + other)
    assert (both.counts, both.worst) == (together.counts, together.worst)


def test_a_million_different_times_need_little_memory() -> None:
    made = Times()
    for value in range(0, 10**9, 1009):
        made.add(value)
    assert len(made.counts) < 32 * 32


def test_an_empty_summary_has_no_table() -> None:
    assert Summary(EXITS).lines() == ["0 exits in 0 ns"]
    assert times([]).median == 0.0


def test_kinds_and_devices_are_counted_the_most_frequent_first() -> None:
    made = summary([exit(), exit(), exit(device="cmos"), exit(kind="interrupted", device=None)])
    assert [(name, each.count) for name, each in made.by_kind().items()] == [
        ("port", 3), ("interrupted", 1),
    ]  # fmt: skip
    assert [(name, each.count) for name, each in made.by_group().items()] == [
        ("com1", 2), ("cmos", 1),
    ]  # fmt: skip
    assert made.count == 4


def test_the_table_has_count_rate_median_worst_and_histogram() -> None:
    made = summary([exit(kvm=0.0, python=1e-6), exit(kvm=0.0, python=5e-3)], seconds=2.0)
    lines = made.lines()
    assert lines[0] == "2 exits in 2.00 s"
    assert lines[2].split()[:5] == ["kind", "exits", "a", "second", "median"]
    assert lines[3].split() == ["port", "2", "1.0", "1.01", "µs", "5.00", "ms", "█", "█"]


@given(st.lists(EXIT, max_size=5))
def test_each_line_is_printable_whatever_the_events_are_called(exits: list) -> None:
    assert all(line.isprintable() for line in summary(exits).lines())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_cant_reach_the_terminal(name: str) -> None:
    assert all(line.isprintable() for line in summary([exit(device=name)]).lines())


def test_missing_events_are_told() -> None:
    made = summary([exit()])
    made.missing = 1234
    assert "1,234 exits are missing" in made.lines()[1]
    assert made.as_json()["missing"] == 1234


def test_a_bucket_that_isnt_empty_shows() -> None:
    assert bars({3: 1, 5: 100_000}, 3, 6) == "▁ █"
    assert bars({}, 0, 3) == ""
