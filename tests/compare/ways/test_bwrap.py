"""The workload in bubblewrap."""

from collections.abc import Callable
from contextlib import closing

import pytest

from ringlet.compare.instances import Request, Unavailable
from ringlet.compare.ways import Way


def test_its_name_and_network_are_its_own(load_way: Callable[[str], Way]) -> None:
    with closing(load_way("bwrap").spawn(Request(["see"]))) as run:
        seen = set()
        while "interfaces=lo" not in seen:
            seen.add(run.read_line()[1])
    assert "hostname=ringlet" in seen


def test_it_has_no_limits(load_way: Callable[[str], Way]) -> None:
    with pytest.raises(Unavailable, match="no limits"):
        load_way("bwrap").command(Request(["fork", "1000"], limited=True))
