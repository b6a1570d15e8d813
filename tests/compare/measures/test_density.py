"""Density: how many start in a second, and how many there are at once within bounds."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringlet.compare import ways
from ringlet.compare.instances import MIB, Request, Unavailable
from ringlet.compare.instances.footprint import available
from ringlet.compare.instances.spawned import Spawned
from ringlet.compare.lab import Lab, Settings
from ringlet.compare.measures import density
from ringlet.compare.measures.density import Measure
from ringlet.compare.ways.process import Way

from .samples import Samples, subsets, take


class Limited(Way):
    """Processes, the fourth of which isn't to be had."""

    waiting = 0

    def spawn(self, request: Request) -> Spawned:
        self.waiting += request.words[0] == "wait"
        if self.waiting > 3:
            raise Unavailable("the table of processes is full", "ask for fewer")
        return super().spawn(request)


@pytest.fixture(scope="module", autouse=True)
def _the_time_is_short() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(density, "_SECONDS", 0.2)
        yield


@pytest.fixture(scope="module")
def samples() -> Samples:
    return take("density")


def _children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def test_some_start_in_a_second_each_way(samples: Samples) -> None:
    for way in samples.found:
        for row in ("rate", "rate-at-once"):
            assert 0.1 < samples.number(way, row) < 1e5
            assert "start" in (samples.get(way, row).command or "")


def test_as_many_as_allowed_are_there_at_once(samples: Samples) -> None:
    for way in samples.found:
        found = samples.get(way, "most")
        assert found.value == 20
        assert found.note == "stopped at the bound of 20"


def test_what_would_take_too_much_memory_is_refused_before(no_leak: None) -> None:
    before = _children()
    with Lab() as lab:
        lab.settings = Settings(most_instances=10_000, memory_share=64 * MIB / available())
        found = Measure(lab).sample(ways.load("process", lab))
    assert isinstance(found["most"], Unavailable)
    assert "10000 at once would take" in found["most"].message
    assert not isinstance(found["rate"], Exception)
    assert _children() == before


def test_where_the_host_says_no_that_is_the_number(no_leak: None) -> None:
    before = _children()
    with Lab(Settings(most_instances=10)) as lab:
        found = Measure(lab).sample(Limited(lab))["most"]
        assert not isinstance(found, Exception)
        assert found.value == 3
        assert found.note == "then: the table of processes is full"
    assert _children() == before


def test_the_sentences_are_right_for_any_ways(samples: Samples) -> None:
    most = samples.row("most")
    assert most.meaning({}) == "None was tried at once."
    assert most.meaning({"process": 20, "container": 20}) == (
        "This host runs 20 at once of each: the process and the container."
    )
    assert most.meaning({"process": 20, "container": 7}) == (
        "There were fewer than 20 at once: 7 (container)."
    )
    assert samples.row("rate").meaning({"process": 900, "tiny-vm": 25.5}) == (
        "One after another: 900 processes or 25.5 tiny VMs start per second."
    )
    for row in samples.measure.rows:
        for medians in subsets(samples.medians(row.name)):
            assert row.meaning(medians).endswith(".")
