"""The interrupt controllers' state, as KVM shows it, after a guest or this test has changed it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ringlet.kvm.core import KvmError
from ringlet.kvm.irqchip import read_io_apic, read_local_apic, read_pics
from ringlet.kvm.system import System
from ringlet.kvm.vm import Vm

pytestmark = pytest.mark.needs_kvm


@contextmanager
def vm(*, irqchip: bool = True) -> Iterator[Vm]:
    with System() as system, Vm(system) as made:
        if irqchip:
            made.create_irqchip()
        made.create_vcpu()
        yield made


def test_after_a_reset_the_io_apic_masks_all_lines_and_the_pics_none() -> None:
    with vm() as made:
        io_apic = read_io_apic(made)
        assert (io_apic.requested, len(io_apic.table)) == (0, 24)
        assert all(entry.masked for entry in io_apic.table)
        assert [(pic.requested, pic.masked, pic.in_service) for pic in read_pics(made)] == [
            (0, 0, 0),
            (0, 0, 0),
        ]


@pytest.mark.parametrize("line", [4, 11])
def test_a_raised_line_waits_in_both(line: int) -> None:
    with vm() as made:
        made.set_irq(line, True)
        assert read_io_apic(made).requested == 1 << line
        first, second = read_pics(made)
        assert (first.requested & ~4 | second.requested << 8) >> line == 1
        made.set_irq(line, False)
        assert read_io_apic(made).requested == 0


def test_the_local_apic_after_a_reset() -> None:
    with vm() as made:
        apic = read_local_apic(made.vcpus[0])
    assert (apic.in_service, apic.requested, apic.timer) == (0, 0, None)


def test_a_vm_without_interrupt_controllers_says_so() -> None:
    with vm(irqchip=False) as made:
        with pytest.raises(KvmError, match="interrupt controllers"):
            read_io_apic(made)
        with pytest.raises(KvmError, match="get a state"):
            read_local_apic(made.vcpus[0])
