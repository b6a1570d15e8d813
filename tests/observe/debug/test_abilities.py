"""What this host's KVM can do to debug a guest."""

import pytest

from ringlet.observe.debug.abilities import find_abilities

pytestmark = pytest.mark.needs_kvm


def test_each_kvm_can_step_ring_0() -> None:
    assert find_abilities().step


def test_the_answer_is_the_same_each_time(no_leak: None) -> None:
    assert find_abilities.__wrapped__() == find_abilities.__wrapped__() == find_abilities()


def test_what_works_in_ring_3_works_in_ring_0() -> None:
    able = find_abilities()
    for name in ("step", "execute", "watch", "trap"):
        assert getattr(able, name) or not getattr(able, f"{name}_ring_3"), name
