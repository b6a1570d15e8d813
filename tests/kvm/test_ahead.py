"""A VM made ahead of its use."""

import pytest

from ringlet.kvm import vm
from ringlet.kvm.ahead import make_vm
from ringlet.kvm.core import KvmError, lib

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]


def test_it_has_interrupt_controllers() -> None:
    vm = make_vm()
    assert vm is not None
    with vm:
        vm.set_irq(4, True)
        with pytest.raises(KvmError, match="File exists"):
            vm.create_irqchip()


def test_it_may_be_closed_twice() -> None:
    vm = make_vm()
    assert vm is not None
    vm.close()
    vm.close()


@pytest.mark.parametrize("step", ["ringlet_vm_create", "ringlet_vm_create_irqchip"])
def test_where_it_cannot_be_made_there_is_none(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def __getattr__(self, name: str) -> object:
            return (lambda *_: -12) if name == step else getattr(lib, name)

    monkeypatch.setattr(vm, "lib", Refusing())
    assert make_vm() is None
