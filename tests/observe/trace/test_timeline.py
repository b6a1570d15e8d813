"""A timeline's bins: no time is lost, no bin is fuller than full."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.observe.exits.exit_event import Exit
from ringlet.observe.trace.timeline import density, shares

from ..samples import EXIT, exit

EXITS = st.lists(EXIT, min_size=1, max_size=10)


@given(EXITS, st.integers(1, 40))
def test_each_share_is_between_none_and_all(exits: list[Exit], bins: int) -> None:
    for lanes in shares(exits, 11.0, bins).values():
        for values in zip(*lanes.values(), strict=True):
            assert all(value >= 0 for value in values)
            assert sum(values) <= 1 + 1e-9


@given(st.integers(1, 40))
def test_an_exit_takes_the_time_that_it_took(bins: int) -> None:
    (lanes,) = shares([exit(time=5.0, guest=3.0, kvm=1.0, python=2.0)], 10.0, bins).values()
    taken = {name: sum(values) * 10.0 / bins for name, values in lanes.items()}
    assert taken == pytest.approx({"guest": 3.0, "KVM": 1.0, "Python": 2.0})


@given(EXITS, st.integers(1, 40))
def test_each_exit_is_in_one_bin_of_its_group(exits: list[Exit], bins: int) -> None:
    lanes = density(exits, 11.0, bins)
    assert sum(map(sum, lanes.values())) == len(exits)
    assert set(lanes) == {each.group or each.kind for each in exits}
