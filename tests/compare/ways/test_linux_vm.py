"""The workload in a stock kernel, where none can run; tests/nested has it where one can."""

import pytest

from ringlet.compare.instances import Unavailable
from ringlet.compare.lab import Lab
from ringlet.compare.ways import load
from ringlet.kvm.system import System
from ringlet.machine.probe import unsupported_instruction


@pytest.mark.needs_kvm
def test_a_kvm_in_software_is_the_reason(lab: Lab) -> None:
    with System() as system:
        if unsupported_instruction(system) is None:
            pytest.skip("needs a KVM that emulates ring 0: this one is hardware's")
    with pytest.raises(Unavailable, match="KVM emulates ring 0") as raised:
        load("linux-vm", lab)
    assert "ringlet nested" in raised.value.hint
