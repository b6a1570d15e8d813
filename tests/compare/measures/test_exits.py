"""Exits: a system call each way, and an exit where there is a VMM."""

import pytest

from ringlet.compare.instances import Unavailable

from .samples import Samples, subsets, take


@pytest.fixture(scope="module")
def samples() -> Samples:
    return take("exits")


def test_a_system_call_takes_some_nanoseconds_each_way(samples: Samples) -> None:
    for way in samples.found:
        assert 5 < samples.number(way, "system-call") < 1e6


def test_what_has_no_kernel_of_its_own_has_no_exits(samples: Samples) -> None:
    for way in ("process", "container"):
        assert isinstance(samples.found[way]["exit"], Unavailable)
        assert "exit" not in (samples.get(way, "system-call").command or "").split()


@pytest.mark.needs_kvm
def test_an_exit_takes_some_microseconds(samples: Samples) -> None:
    assert 0.1 < samples.number("tiny-vm", "exit") < 10_000


def test_the_sentences_are_right_for_any_ways(samples: Samples) -> None:
    row = samples.row("exit")
    assert row.meaning({}) == "Without a VM there is no VMM to exit to."
    assert (
        row.meaning({"tiny-vm": 8.5}) == "An exit to the VMM and back takes 8.50 µs in the tiny VM."
    )
    assert row.meaning({"tiny-vm": 8.5, "qemu": 9}) == (
        "An exit to the VMM and back takes 8.50 µs in the tiny VM and 9 µs in QEMU microvm."
    )
    for medians in subsets(samples.medians("system-call")):
        assert bool(samples.row("system-call").meaning(medians)) == bool(medians)
