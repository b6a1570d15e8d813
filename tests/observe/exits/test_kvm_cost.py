import time

import pytest

from ringlet.observe.exits.kvm_cost import measure

from ...kvm.guest import CODE, real_mode

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]


def test_the_cost_is_that_of_an_exit_and_is_measured_fast() -> None:
    begin = time.process_time()
    cost = measure()
    assert time.process_time() - begin < 1
    assert 100 < cost.nanoseconds < 1_000_000


def test_rip_is_where_it_is_said_to_be() -> None:
    with real_mode(b"\xe6\x80\xf4") as guest:  # out 0x80, al; hlt
        guest.vcpu.run()
        assert guest.vcpu.registers.rip == CODE + (2 if measure().behind else 0)
