"""Filters: what they admit, and what people write."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.errors import ConfigError
from ringlet.observe.trace.filters import Filter, check_names, parse_period, parse_range

ADDRESS = st.integers(0, (1 << 64) - 1)


@given(st.text(), st.text(), st.integers(0), st.none() | ADDRESS)
def test_an_empty_filter_admits_everything(
    kind: str, group: str, actor: int, address: int | None
) -> None:
    assert Filter().admits(kind, group, actor, address)
    assert Filter().admits_time(0.0)


def test_an_event_has_to_fit_each_field_that_is_given() -> None:
    wanted = Filter(
        kinds=frozenset({"port"}), groups=frozenset({"com1"}), actors=frozenset({0}),
        addresses=((0x3F8, 0x3FF),),
    )  # fmt: skip
    assert wanted.admits("port", "com1", 0, 0x3F8)
    assert not wanted.admits("mmio", "com1", 0, 0x3F8)
    assert not wanted.admits("port", "com2", 0, 0x3F8)
    assert not wanted.admits("port", "com1", 1, 0x3F8)
    assert not wanted.admits("port", "com1", 0, 0x400)
    assert not wanted.admits("port", "com1", 0, None)


@given(ADDRESS, ADDRESS, ADDRESS, st.sampled_from((1, 2, 4, 8)))
def test_an_access_is_wanted_if_one_of_its_bytes_is(
    first: int, last: int, address: int, size: int
) -> None:
    low, high = sorted((first, last))
    touches = any(low <= address + at <= high for at in range(size))
    assert Filter(addresses=((low, high),)).admits("mmio", "", 0, address, size) == touches


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 100))
def test_a_period_has_its_start_and_not_its_end(since: float, until: float, time: float) -> None:
    assert Filter(since=since, until=until).admits_time(time) == (since <= time < until)


@given(ADDRESS, ADDRESS)
def test_a_range_is_read_as_it_is_written(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert parse_range(f"{low:#x}") == (low, low)
    assert parse_range(f"{low:#x}-{high:#x}") == (low, high)
    assert parse_range(f"{low}-{high}") == (low, high)


@pytest.mark.parametrize(
    "text",
    ["", "-", "x", "0x", "3f8", "0x3f8-", "-0x3f8", "0x10-0x1", "1_0", " 1", "٣", "0x1" + "0" * 16],
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_range(text)


@pytest.mark.parametrize(
    ("text", "period"), [("0.5-2", (0.5, 2.0)), ("3-", (3.0, inf)), ("-2", (0.0, 2.0))]
)
def test_a_period_is_read_as_it_is_written(text: str, period: tuple[float, float]) -> None:
    assert parse_period(text) == period


@pytest.mark.parametrize(
    "text", ["", "-", "2", "2-1", "1-1", "a-b", "1e3-2", "nan-inf", "٣-", "--1"]
)
def test_what_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_period(text)


@given(st.text(max_size=20))
def test_any_text_is_a_range_or_a_period_or_is_refused(text: str) -> None:
    for parse in (parse_range, parse_period):
        try:
            low, high = parse(text)
        except ConfigError:
            continue
        assert low <= high


def test_a_name_that_is_not_there_is_refused_with_a_similar_name() -> None:
    assert check_names(["com1"], ["com1", "cmos"], "device") == {"com1"}
    with pytest.raises(ConfigError, match="no device 'com9'") as refused:
        check_names(["com9"], iter(["com1", "cmos"]), "device")
    assert "did you mean `com1`?" in refused.value.hint
