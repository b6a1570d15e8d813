"""Disk: blocks of one image each way, read, written, and made durable."""

import tempfile

import pytest

from ringlet.compare import ways
from ringlet.compare.lab import Lab
from ringlet.compare.measures import Found
from ringlet.compare.measures.disk import Measure

from .samples import Samples, subsets, take


@pytest.fixture(scope="module")
def samples() -> Samples:
    return take("disk")


def test_each_way_reads_writes_and_flushes(samples: Samples) -> None:
    for way in samples.found:
        for action in ("read", "write", "flush"):
            assert 0.01 < samples.number(way, action) < 1e6
            command = (samples.get(way, action).command or "").replace("'", " ").split()
            assert action in command
            assert ("direct" in command) == (way == "tiny-vm")


def test_what_is_durable_in_memory_alone_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")
    with Lab() as lab:
        found = Measure(lab).sample(ways.load("process", lab))
    notes = {name: one.note for name, one in found.items() if isinstance(one, Found)}
    assert notes.pop("flush", None) is not None
    assert notes == {"read": None, "write": None}


def test_the_sentences_are_right_for_any_ways(samples: Samples) -> None:
    for row in samples.measure.rows:
        for medians in subsets(samples.medians(row.name)):
            assert bool(row.meaning(medians)) == bool(medians)
    assert samples.row("read").meaning({"process": 1.0, "tiny-vm": 40.0}) == (
        "Reading 4 KiB takes 40x as long in the tiny VM as in the process."
    )
