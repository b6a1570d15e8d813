"""Neighbours: work goes on beside a fork bomb within limits, and beside a kernel that crashes."""

from collections.abc import Sequence

import pytest

from ringlet.compare.instances import Request, Unavailable
from ringlet.compare.instances.spawned import Spawned
from ringlet.compare.lab import Lab
from ringlet.compare.measures import Found
from ringlet.compare.measures.neighbour import Measure
from ringlet.compare.ways.process import Way

from .samples import Samples, subsets, take


@pytest.fixture(scope="module")
def samples() -> Samples:
    return take("neighbour")


class Unbounded(Way):
    """Processes that say they had limits. Records what was asked of them."""

    def __init__(self, lab: Lab) -> None:
        self.asked: list[Sequence[str]] = []
        super().__init__(lab)

    def command(self, request: Request) -> list[str]:
        return super().command(request._replace(limited=False))

    def spawn(self, request: Request) -> Spawned:
        self.asked.append(request.words)
        return super().spawn(request)


class Doomed(Unbounded):
    """Their kernel is said to be their own, and the third loop ends before its work is done."""

    own_kernel = True

    def spawn(self, request: Request) -> Spawned:
        loops = sum(words[0] == "loop" for words in self.asked)
        if request.words[0] == "fork":
            self.asked.append(request.words)
            return Spawned([self._lab.work, "fork", "3"])
        if request.words[0] == "loop" and loops == 2:
            self.asked.append(request.words)
            return Spawned([self._lab.work, "start"])
        return super().spawn(request)


def test_a_bare_process_is_not_tried(samples: Samples) -> None:
    assert isinstance(samples.found["process"]["bomb"], Unavailable)


@pytest.mark.needs_cgroups
def test_work_goes_on_beside_a_fork_bomb_in_a_container(samples: Samples) -> None:
    assert 1 < samples.number("container", "bomb") < 1000
    assert samples.get("container", "bomb").note == "the bomb had 63 processes"


def test_what_shares_the_hosts_kernel_does_not_crash_it(samples: Samples) -> None:
    for way in ("process", "container"):
        assert samples.get(way, "crash").value == "shares the host's kernel: not tried"


@pytest.mark.needs_kvm
def test_a_vm_lives_beside_another_whose_kernel_crashes(samples: Samples) -> None:
    assert 1 < samples.number("tiny-vm", "crash") < 1000
    bomb = samples.get("tiny-vm", "bomb").value
    assert bomb == "its kernel has no fork(2): there is no bomb"


def test_without_limits_there_is_no_bomb(no_leak: None) -> None:
    with Lab() as lab:
        way = Unbounded(lab)
        found = Measure(lab).sample(way)
    assert isinstance(found["bomb"], Unavailable)
    assert "nothing bounds its processes" in found["bomb"].message
    assert ["fork", "100"] in [list(words) for words in way.asked]
    assert not any("10000" in words or "crash" in words for words in way.asked)


def test_a_neighbour_that_ends_is_said_to(no_leak: None) -> None:
    with Lab() as lab:
        found = Measure(lab).sample(Doomed(lab))
    bomb, crash = found["bomb"], found["crash"]
    assert isinstance(bomb, Found)
    assert isinstance(bomb.value, str)
    assert bomb.value.startswith("it didn't live")
    assert isinstance(crash, Unavailable)  # the workload refuses: this is no VM's kernel
    assert "may not be crashed" in crash.message


class Speechless(Unbounded):
    """A kernel that takes its last words with it, as Linux may."""

    own_kernel = True

    def spawn(self, request: Request) -> Spawned:
        if request.words[0] == "crash":
            return Spawned(["sh", "-c", "echo started; exit 3"])
        if request.words[0] == "fork":  # nothing would bound it
            return Spawned([self._lab.work, "fork", "3"])
        return super().spawn(request)


def test_a_kernel_may_crash_without_a_word() -> None:
    with Lab() as lab:
        way = Speechless(lab)
        found = Measure(lab).sample(way)["crash"]
    assert isinstance(found, Found)
    assert isinstance(found.value, float)


def test_the_sentences_are_right_for_any_ways(samples: Samples) -> None:
    bomb, crash = samples.row("bomb"), samples.row("crash")
    assert crash.meaning({}) == "None was tried beside a neighbour's kernel that crashes."
    assert bomb.meaning({"container": 96.5, "tiny-vm": 100}) == (
        "Beside a fork bomb within limits, work goes on at 96.5 % (container) and 100 % (tiny VM) "
        "of its rate alone."
    )
    for row in (bomb, crash):
        for medians in subsets({"container": 97.0, "tiny-vm": 101.0, "runc": 3.0}):
            assert row.meaning(medians).endswith(".")
