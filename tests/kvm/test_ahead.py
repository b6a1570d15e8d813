"""A VM made ahead of its use."""

import pytest

from ringlet.kvm import ahead
from ringlet.kvm.core import KvmError

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]


def test_it_is_taken_once_and_has_interrupt_controllers() -> None:
    with ahead.vm():
        vm = ahead.take()
        assert vm is not None
        assert ahead.take() is None
    with vm:  # the caller's: it has outlived the block
        vm.set_irq(4, True)
        with pytest.raises(KvmError, match="File exists"):
            vm.create_irqchip()


def test_one_that_nobody_took_is_closed() -> None:
    with ahead.vm():
        pass
    assert ahead.take() is None


def test_without_one_there_is_none_to_take() -> None:
    assert ahead.take() is None
