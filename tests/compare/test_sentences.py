"""Sentences are right for any ways that there are medians of."""

from itertools import combinations
from statistics import median

import pytest

from ringlet.compare.report import Cell, Others, ReportedWay
from ringlet.compare.sentences import (
    called,
    capital,
    compare,
    disturbed,
    incomplete,
    joined,
    started,
    verdict,
)
from ringlet.compare.statistics import Medians
from ringlet.compare.ways import DEFAULT, OPTIONAL

from .reports import sample, small


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


def test_an_incomplete_report_says_whether_it_was_interrupted_or_short_of_time() -> None:
    report = sample()
    assert incomplete(report) == ""
    report.complete = False
    assert incomplete(report) == "It was interrupted, or ran out of time: not all is measured."
    report.stopped = "time"
    assert "interrupted" not in incomplete(report)
    assert "--seconds" in incomplete(report)
    report.stopped = "interrupted"
    assert "time" not in incomplete(report)


def test_other_work_of_the_host_is_told_if_there_was_much() -> None:
    report = sample()  # of 12 processors
    assert disturbed(report) == ""
    report.others = Others(busy=0.5, steal=0.1, load=0.3)
    assert disturbed(report) == ""
    report.others = Others(busy=3.21, steal=0.5, load=4.2)
    assert disturbed(report) == (
        "Other work kept 3.2 of 12 processors busy and the hypervisor below took away 0.50 of 12 "
        "processors (steal time) while this was measured, and the load average before was 4.2: "
        "the numbers are noisy."
    )


def test_any_ways_make_one_sentence() -> None:
    for count in range(1, 4):
        for names in combinations((*DEFAULT, *OPTIONAL), count):
            sentence = compare(dict.fromkeys(names, 1.5), "ms", "it")
            assert sentence == capital(sentence)
            assert sentence.endswith(".")
            assert all(called(name).removeprefix("the ") in sentence for name in names)


def verdict_of(**samples: list[float]) -> str:
    """The verdict on these samples of a loop; `_` in a name is a dash."""
    cells = {
        name.replace("_", "-"): Cell(samples=values, median=median(values))
        for name, values in samples.items()
    }
    report = small(cells, name="loop")
    report.ways = [ReportedWay(name=name, title=name, about="") for name in cells]
    return verdict(report)


def test_the_verdict_has_what_the_samples_carry_and_no_more() -> None:
    noisy = [6.0, 19.0, 12.0, 30.0, 2.0, 18.0, 19.0]
    assert verdict_of(process=NEAR, container=[x * 8 for x in NEAR], tiny_vm=NEAR) == (
        "Beside the process, the container takes 8x as long to compute; the tiny VM takes about 1x "
        "as long."
    )
    assert "tiny VM" not in verdict_of(process=NEAR, container=[80.0] * 6, tiny_vm=noisy)
    assert verdict_of(process=NEAR, tiny_vm=noisy) == ""
    assert verdict_of(process=[10.0], container=[80.0]) == ""
    assert verdict_of(process=NEAR) == verdict_of() == ""
