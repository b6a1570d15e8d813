from pathlib import Path

import pytest

from ringlet.compare.instances import MIB, Request, Unavailable
from ringlet.compare.instances.crowd import Crowd, Full
from ringlet.compare.instances.footprint import available
from ringlet.compare.instances.spawned import Spawned
from ringlet.compare.lab import Lab, Settings
from ringlet.compare.ways import load
from ringlet.compare.ways.process import Way

WAIT = Request(["wait"])


class Limited(Way):
    """Processes, of which no more than `most` can be started."""

    most = 5

    def spawn(self, request: Request) -> Spawned:
        self.most -= 1
        if self.most < 0:
            raise OSError(24, "Too many open files")
        return super().spawn(request)


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_it_grows_and_all_are_gone_with_it(no_leak: None) -> None:
    with Lab() as lab:
        with Crowd(load("process", lab), WAIT, lab.settings) as crowd:
            for count in (1, 3, 12):
                crowd.grow(count)
                assert len(crowd.instances) == count
                processes = crowd.processes()
                assert len(set(processes)) == count
                assert _alive(processes) == processes
        assert _alive(processes) == []


def test_what_would_take_too_much_memory_is_refused_after_the_first() -> None:
    with Lab() as lab:
        share = 64 * MIB / available()
        settings = Settings(memory_share=share)
        way = load("process", lab)
        with Crowd(way, Request(["touch", "1"]), settings) as crowd:
            crowd.grow(2)
            assert len(crowd.instances) == 2
            with pytest.raises(Unavailable, match="1000 at once would take"):
                crowd.grow(1000)
            assert len(crowd.instances) == 2


def test_those_that_take_more_than_they_said_are_stopped() -> None:
    with Lab() as lab:
        settings = Settings(memory_share=128 * MIB / available())
        way = load("process", lab)
        # Its first line comes before it takes its memory: the first one told too little.
        with Crowd(way, Request(["touch", "48"]), settings) as crowd:
            with pytest.raises(Unavailable):
                crowd.grow(100)
            assert len(crowd.instances) < 20


def test_when_no_further_one_can_be_started_the_others_are_there() -> None:
    with Lab() as lab:
        way = Limited(lab)
        way.most = 5
        with Crowd(way, WAIT, lab.settings) as crowd:
            with pytest.raises(Full, match="Too many open files"):
                crowd.grow(9)
            assert len(crowd.instances) == 5
            processes = crowd.processes()
        assert _alive(processes) == []


def test_one_that_ends_before_it_says_anything_is_no_member() -> None:
    with Lab() as lab:
        way = load("process", lab)
        lab.work = "/bin/true"
        with Crowd(way, WAIT, lab.settings) as crowd:
            with pytest.raises(Full, match="ended"):
                crowd.grow(3)
            assert crowd.instances == []
