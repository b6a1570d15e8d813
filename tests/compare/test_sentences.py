"""Sentences are right for any ways that there are medians of."""

from itertools import combinations

import pytest

from ringlet.compare.sentences import called, capital, compare, joined
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
        "A start takes the container 1.50 times, runc 100 times and the tiny VM 0.50 times "
        "as long as the process."
    )
    del medians["process"]
    assert compare(medians, "ms", "a start").endswith(" as long as the tiny VM.")
    assert compare({"runc": 200.0}, "us", "a start") == "A start takes runc 200 µs."
    assert (
        compare({"process": 0.0, "runc": 2.0}, "s", "it")
        == "It takes the process 0 s and runc 2 s."
    )
    assert compare({}, "ms", "a start") == ""


def test_any_ways_make_one_sentence() -> None:
    for count in range(1, 4):
        for names in combinations((*DEFAULT, *OPTIONAL), count):
            sentence = compare(dict.fromkeys(names, 1.5), "ms", "it")
            assert sentence == capital(sentence)
            assert sentence.endswith(".")
            assert all(called(name).removeprefix("the ") in sentence for name in names)
