"""A guest that listens for the power button is asked to end; one that doesn't, ends at once."""

import time

import pytest

from ringlet.machine.machine import Machine

from ..machine_code import HALT_WITH_INTERRUPTS, OBEYS, REFUSES, machine

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]

NEVER = 60


def listening(code: bytes) -> Machine:
    """Runs, and has enabled the button."""
    made = machine(code, serial="pipe")
    made.start()
    assert made.serial.read(1) == b"."
    return made


def test_stop_lets_a_guest_power_off() -> None:
    with listening(OBEYS) as made:
        result = made.stop(NEVER)
        assert (result.reason, result.status) == ("power-off", 0)


def test_stop_ends_a_guest_that_does_not_obey_when_the_time_is_over() -> None:
    with listening(REFUSES) as made:
        started = time.monotonic()
        result = made.stop(0.3)
        assert time.monotonic() - started >= 0.3
        assert (result.reason, result.status) == ("stopped", 143)
        assert made.serial.read() == b"!", "it was asked, once"


def test_stop_ends_a_guest_at_once_that_does_not_listen() -> None:
    with machine(HALT_WITH_INTERRUPTS) as made:
        made.start()
        started = time.monotonic()
        result = made.stop(NEVER)
        assert time.monotonic() - started < NEVER / 2
        assert result.reason == "stopped"


def test_a_press_tells_whether_the_guest_listens() -> None:
    with listening(OBEYS) as made:
        assert made.control.press_power_button()
        result = made.wait(NEVER)
        assert result is not None
        assert result.reason == "power-off"
        assert not made.control.press_power_button(), "it has ended"
    assert not made.control.press_power_button(), "it is closed"


def test_a_press_in_a_pause_is_heard_afterwards() -> None:
    with listening(OBEYS) as made:
        made.pause()
        assert made.control.press_power_button()
        assert made.wait(0.2) is None
        made.resume()
        result = made.wait(NEVER)
        assert result is not None
        assert result.reason == "power-off"
