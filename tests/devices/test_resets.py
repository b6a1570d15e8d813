"""The fast ways to reset a PC: which write does, and that a guest ends by it."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.devices.reset_control import ResetControl
from ringlet.devices.system_control import SystemControl

from ..machine_code import run

BYTES = st.lists(st.integers(0, 0xFF), min_size=1)


def resets(make: Callable[[Callable[[], None]], object], writes: list[tuple[int, int, int]]) -> int:
    count = 0

    def reset() -> None:
        nonlocal count
        count += 1

    device = make(reset)
    for offset, size, value in writes:
        device.write(offset, size, value)  # type: ignore[attr-defined]
    return count


@given(BYTES)
def test_system_control_resets_when_its_bit_0_rises(values: list[int]) -> None:
    rises = sum(not old & 1 and new & 1 for old, new in zip([0, *values], values, strict=False))
    assert resets(SystemControl, [(0, 1, value) for value in values]) == rises


def test_a20_is_on_and_reads_as_it_is_written() -> None:
    device = SystemControl(lambda: None)
    assert device.read(0, 1) == 2
    for value in (0, 2):
        device.write(0, 1, value)
        assert device.read(0, 1) == value


@given(BYTES)
def test_reset_control_resets_when_its_bit_2_rises(values: list[int]) -> None:
    rises = sum(
        not old & 4 and bool(new & 4) for old, new in zip([0, *values], values, strict=False)
    )
    assert resets(ResetControl, [(1, 1, value) for value in values]) == rises


def test_reset_control_reads_what_was_written_of_its_three_bits() -> None:
    device = ResetControl(lambda: None)
    assert device.read(1, 1) == 0
    device.write(1, 1, 0xFB)
    assert device.read(1, 1) == 0x0A


@pytest.mark.parametrize(("offset", "size"), [(0, 4), (0, 2), (1, 2), (0, 1), (2, 1), (3, 1)])
def test_an_address_of_pcis_configuration_is_no_reset(offset: int, size: int) -> None:
    """As it is written, 0x80000404 has bit 2 set in its second byte."""
    value = 0x8000_0404 & (1 << 8 * size) - 1
    assert resets(ResetControl, [(offset, size, value)]) == 0
    assert ResetControl(lambda: None).read(offset, size) == (1 << 8 * size) - 1


# in al, 0x92; or al, 1; out 0x92, al; hlt
FAST = b"\xe4\x92\x0c\x01\xe6\x92\xf4"
# mov dx, 0xcf9; mov al, 2; out dx, al; mov al, 6; out dx, al; hlt
CHIPSET = b"\xba\xf9\x0c\xb0\x02\xee\xb0\x06\xee\xf4"
# mov dx, 0xcf8; mov eax, 0x80000400; out dx, eax; hlt
PCI = b"\xba\xf8\x0c\x66\xb8\x00\x04\x00\x80\x66\xef\xf4"


@pytest.mark.needs_kvm
@pytest.mark.parametrize(("code", "reason"), [(FAST, "reset"), (CHIPSET, "reset"), (PCI, "halt")])
def test_a_guest_ends_by_them_and_by_no_look_for_pci(code: bytes, reason: str) -> None:
    assert run(code).reason == reason
