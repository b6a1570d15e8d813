import pytest

from ringlet.kvm.cpuid import for_vcpu
from ringlet.kvm.msrs import FIRMWARE, MISC_ENABLE, MTRR_DEFAULT_TYPE

from .guest import bare


@pytest.mark.needs_kvm
def test_kvm_takes_them_all() -> None:
    with bare(b"") as guest:
        guest.vcpu.cpuid = for_vcpu(guest.system.supported_cpuid, 0)
        assert guest.vcpu.set_msrs(FIRMWARE) == len(FIRMWARE)
        assert guest.vcpu.get_msrs(list(FIRMWARE)) == list(FIRMWARE.values())


def test_memory_is_write_back_and_strings_are_fast() -> None:
    assert FIRMWARE[MTRR_DEFAULT_TYPE] & 0xFF == 6
    assert FIRMWARE[MTRR_DEFAULT_TYPE] & 1 << 11
    assert FIRMWARE[MISC_ENABLE] & 1
