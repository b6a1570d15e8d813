"""The i8254 timer, as a kernel finds it that expects a PC's firmware to have run."""

import pytest

from ..machine_code import HALT_WITH_INTERRUPTS, exit_with, on_interrupt, run

pytestmark = pytest.mark.needs_kvm

# mov al, 0; out 0x40, al; mov al, 0x10; out 0x40, al: the counter alone, to 0x1000.
SET_COUNTER = b"\xb0\x00\xe6\x40\xb0\x10\xe6\x40"
# inc bx; mov al, 0x20; out 0x20, al (end of interrupt); cmp bx, 5; jae to what exits; iret
FIVE_TIMES = b"\x43\xb0\x20\xe6\x20\x83\xfb\x05\x73\x01\xcf" + exit_with(5)


@pytest.mark.parametrize("code", [b"", SET_COUNTER], ids=["as it is", "with another counter"])
def test_the_timer_ticks_before_its_mode_is_set(code: bytes) -> None:
    result = run(on_interrupt(0, FIVE_TIMES) + code + HALT_WITH_INTERRUPTS, pit=True)
    assert (result.reason, result.status) == ("exit-port", 5)


def test_without_a_timer_nothing_ticks() -> None:
    guest = on_interrupt(0, FIVE_TIMES) + SET_COUNTER + HALT_WITH_INTERRUPTS
    assert run(guest, pit=False, timeout=0.5).reason == "timeout"
