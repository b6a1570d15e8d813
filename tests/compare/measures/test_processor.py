"""Processor: the same work each way, with the same outcome, in about the same time."""

from typing import Any

import pytest

from ringlet.compare import ways
from ringlet.compare.instances import Unavailable
from ringlet.compare.lab import Lab
from ringlet.compare.measures import processor

from .samples import Samples, subsets, take


@pytest.fixture(scope="module")
def samples() -> Samples:
    return take("processor")


def test_each_way_does_all_the_work(samples: Samples) -> None:
    for way in samples.found:
        for row in samples.measure.rows:
            assert 0.1 < samples.number(way, row.name) < 10_000
            assert row.name in (samples.get(way, row.name).command or "")


def test_another_outcome_is_not_taken_for_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    true_outcomes = processor.outcomes

    def wrong(*arguments: Any) -> list[dict[str, int]]:
        return [{**result, "check": 1} for result in true_outcomes(*arguments)]

    monkeypatch.setattr(processor, "outcomes", wrong)
    with Lab() as lab, pytest.raises(Unavailable, match="its outcome is another"):
        processor.Measure(lab).sample(ways.load("process", lab))


def test_the_sentence_calls_a_small_difference_none(samples: Samples) -> None:
    row = samples.row("hash")
    assert row.meaning({"process": 100.0, "container": 101.0, "tiny-vm": 98.0}) == (
        "Hashing 16 MiB takes as long in the container and the tiny VM as in the process, "
        "within 3%."
    )
    assert row.meaning({"process": 100.0, "tiny-vm": 150.0}) == (
        "Hashing 16 MiB takes 1.50x as long in the tiny VM as in the process."
    )
    assert row.meaning({"tiny-vm": 100.0}) == "Hashing 16 MiB takes 100 ms in the tiny VM."
    for medians in subsets(samples.medians("sort")):
        assert bool(samples.row("sort").meaning(medians)) == bool(medians)
