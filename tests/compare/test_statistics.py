"""The spread of samples, and how sure their median is."""

import random
from math import inf
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.compare.statistics import are_apart, interval, noise, spread

SAMPLES = st.lists(st.floats(-1e100, 1e100), max_size=200)


def test_known_intervals() -> None:
    """The ranks of the tables of the sign test for 5 % on both sides together."""
    for count, ranks in {
        5: None,
        6: (1, 6),
        8: (1, 8),
        9: (2, 8),
        20: (6, 15),
        50: (18, 33),
    }.items():
        assert interval(range(1, count + 1)) == ranks


def test_spread_is_the_distance_of_the_quartiles() -> None:
    assert spread([1, 2, 3, 4, 5]) == 2
    assert spread([1, 1]) == 0
    assert (spread([1]), spread([])) == (None, None)


@given(SAMPLES)
def test_the_interval_is_of_samples_around_the_median(samples: list[float]) -> None:
    between = interval(samples)
    assert (between is None) == (len(samples) < 6)
    if between is not None:
        assert between[0] <= median(samples) <= between[1]
        assert set(between) <= set(samples)


@given(SAMPLES, st.randoms())
def test_order_is_nothing(samples: list[float], chance: random.Random) -> None:
    shuffled = chance.sample(samples, len(samples))
    assert (noise(shuffled), spread(shuffled)) == (noise(samples), spread(samples))


@given(SAMPLES)
def test_noise_and_spread_are_no_less_than_nothing(samples: list[float]) -> None:
    assert noise(samples) >= 0
    assert (spread(samples) or 0) >= 0


@pytest.mark.parametrize(
    ("samples", "found"),
    [([], inf), ([7.0] * 5, inf), ([7.0] * 6, 0), ([0.0] * 6, 0), ([-1.0, 0, 1] * 9, inf)],
)
def test_noise_at_its_ends(samples: list[float], found: float) -> None:
    assert noise(samples) == found


def test_many_samples_make_the_median_sure() -> None:
    chance = random.Random(1)
    samples = [chance.gauss(10, 1) for _ in range(3000)]
    assert noise(samples) < 0.01 < noise(samples[:50])


def test_medians_are_apart_where_what_they_may_be_has_nothing_in_common() -> None:
    assert are_apart([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    assert not are_apart([1.0, 2.0, 4.5], [4.0, 5.0, 6.0])
    assert not are_apart([1.0, 1.0], [9.0, 9.0])  # that may be chance
    one = [1.0, 1.1, 1.2, 1.3, 1.4, 9.0, 1.2, 1.2, 1.25]  # one outlier doesn't count
    assert are_apart(one, [value + 1 for value in one])
    assert not are_apart(one, [value + 0.01 for value in one])
