"""Sentences are right for any ways that there are medians of."""

from itertools import combinations

import pytest

from ringlet.compare.sentences import called, capital, compare, joined, started
from ringlet.compare.statistics import Medians
from ringlet.compare.ways import DEFAULT, OPTIONAL


def test_a_way_has_an_article_and_a_program_has_none() -> None:
    assert [called(name) for name in ("tiny-vm", "runc")] == ["the tiny VM", "runc"]


@pytest.mark.parametrize(
    ("parts", "text"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")],
)
def test_parts_are_listed_with_an_and_before_the_last(parts: list[str], text: str) -> None:
    assert joined(parts) == text


def test_what_is_compared_with_is_the_process_or_else_the_fastest() -> None:
    medians = {"process": 2.0, "container": 3.0, "runc": 200.0, "tiny-vm": 1.0}
    assert compare(medians, "ms", "a start") == (
        "A start takes 1.50x as long in the container, 100x as long in runc and 0.50x as long in "
        "the tiny VM as in the process."
    )
    del medians["process"]
    assert compare(medians, "ms", "a start").endswith(" as long in runc as in the tiny VM.")
    assert compare({"runc": 200.0}, "us", "a start") == "A start takes 200 µs in runc."
    assert (
        compare({"process": 0.0, "runc": 2.0}, "s", "it")
        == "It takes 0 s in the process and 2 s in runc."
    )
    assert compare({}, "ms", "a start") == ""


NEAR = [9.0, 10.0, 11.0, 10.0, 9.5, 10.5, 12.0]


def test_no_ratio_is_given_that_the_spread_does_not_carry() -> None:
    near, noisy = [10.0] * 7, [6.0, 9.0, 12.0, 30.0, 2.0, 8.0, 9.0]
    assert compare(Medians({"process": near, "container": noisy}), "ms", "it") == (
        "It: the difference between the process and the container is less than the spread of the "
        "runs."
    )
    medians = Medians({"process": NEAR, "container": noisy, "tiny-vm": [x * 8 for x in NEAR]})
    assert compare(medians, "ms", "it") == (
        "It takes 8x as long in the tiny VM as in the process; the difference to the container is "
        "less than the spread of the runs."
    )


def test_few_runs_give_no_ratio() -> None:
    assert compare(Medians({"process": [1.0, 1.0], "tiny-vm": [8.0, 8.0]}), "ms", "it") == (
        "It takes 1 ms in the process and 8 ms in the tiny VM; there are too few runs for a ratio."
    )


def test_starts_are_counted_by_what_is_started() -> None:
    assert started({"process": 820.0, "container": 7.9}) == "820 processes or 7.90 containers"
    assert started({"tiny-vm": 2.0, "linux-vm": 1.0, "runc": 3.0}) == (
        "2 tiny VMs, 1 Linux VMs or 3 of runc"
    )


def test_any_ways_make_one_sentence() -> None:
    for count in range(1, 4):
        for names in combinations((*DEFAULT, *OPTIONAL), count):
            sentence = compare(dict.fromkeys(names, 1.5), "ms", "it")
            assert sentence == capital(sentence)
            assert sentence.endswith(".")
            assert all(called(name).removeprefix("the ") in sentence for name in names)
