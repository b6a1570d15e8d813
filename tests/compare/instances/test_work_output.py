"""What the workload says is taken as numbers, or as the reason why there are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.compare import ways
from ringlet.compare.instances import Request, Unavailable
from ringlet.compare.instances.work_output import numbers, outcomes, value
from ringlet.compare.lab import Lab


def test_numbers_are_the_words_that_are_pairs() -> None:
    assert numbers("started first=12 now=345") == {"first": 12, "now": 345}
    assert numbers("refused") == {}
    assert numbers("a=b =1 c= d=1x e=-1 f=+1") == {}


@given(st.text())
def test_any_line_has_numbers_or_none(line: str) -> None:
    assert all(number < 10**20 for number in numbers(line).values())


def test_a_value_that_was_not_told_is_refused() -> None:
    assert value({"cycles": 5}, "cycles") == 5
    with pytest.raises(Unavailable, match="told no check"):
        value({"cycles": 5}, "check")


@pytest.mark.parametrize(
    ("words", "count", "reason"),
    [
        ("read /nowhere 512 1", 1, "No such file or directory"),
        ("exit 1", 1, "the workload said 'refused'"),
        ("nonsense", 1, "the workload said 'unknown action"),
        ("nonsense", 0, "ended with status 2"),
        ("loop 1", 2, "its output has ended"),
    ],
)
def test_a_failure_says_why(words: str, count: int, reason: str) -> None:
    with Lab() as lab, pytest.raises(Unavailable, match=reason):
        outcomes(ways.load("process", lab), Request(words.split()), count)


def test_each_action_has_its_outcome() -> None:
    with Lab() as lab:
        way = ways.load("process", lab)
        loop, calls = outcomes(way, Request(["loop", "10", "syscall", "10"]), 2)
    assert (set(loop), set(calls)) == ({"cycles", "check"}, {"cycles"})
