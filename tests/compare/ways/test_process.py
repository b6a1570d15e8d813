"""The workload as a process of the host."""

from collections.abc import Callable
from contextlib import closing

import pytest

from ringlet.compare.instances import Request, Unavailable
from ringlet.compare.lab import Lab
from ringlet.compare.ways import Way


def test_it_is_the_program_alone(load_way: Callable[[str], Way], lab: Lab) -> None:
    way = load_way("process")
    assert way.command(Request(["loop", "5"])) == [lab.work, "loop", "5"]
    assert way.disk == str(lab.disk)
    with closing(way.launch(Request(["wait"]))) as run:
        run.read_line()
        assert len(run.processes()) == 1


def test_it_would_run_without_limits_where_they_are_asked_for(
    load_way: Callable[[str], Way],
) -> None:
    with pytest.raises(Unavailable, match="no limits"):
        load_way("process").launch(Request(["fork", "1000"], limited=True))
