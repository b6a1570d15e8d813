from hypothesis import given
from hypothesis import strategies as st

from ringlet.board.acpi import SLEEP_TYPE_S5
from ringlet.devices.acpi_pm import Pm1Control, Pm1Event

STATUS, ENABLE = 0, 2
SLP_EN = 1 << 13


@given(st.integers(0, 0xFFFF))
def test_entering_s5_alone_powers_off(value: int) -> None:
    ends: list[bool] = []
    Pm1Control(lambda: ends.append(True)).write(0, 2, value)
    assert len(ends) == (value & SLP_EN != 0 and value >> 10 & 7 == SLEEP_TYPE_S5)


@given(st.integers(0, 0xFFFF).filter(lambda value: not value & SLP_EN))
def test_control_keeps_what_is_written_and_stays_in_acpi_mode(value: int) -> None:
    control = Pm1Control(lambda: None)
    control.write(0, 2, value)
    assert control.read(0, 2) == value | 1
    assert control.read(0, 1) | control.read(1, 1) << 8 == value | 1


def test_sleep_type_may_be_written_before_and_enabled_by_a_byte() -> None:
    ends: list[bool] = []
    control = Pm1Control(lambda: ends.append(True))
    control.write(0, 2, SLEEP_TYPE_S5 << 10)
    assert not ends
    control.write(1, 1, (SLEEP_TYPE_S5 << 10 | SLP_EN) >> 8)
    assert ends
    assert control.read(0, 2) == SLEEP_TYPE_S5 << 10 | 1, "SLP_EN always reads as 0"


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_events_can_be_enabled_and_none_happens(status: int, enable: int) -> None:
    event = Pm1Event()
    event.write(STATUS, 2, status)
    event.write(ENABLE, 2, enable)
    assert event.read(STATUS, 2) == 0
    assert event.read(ENABLE, 2) == enable
    assert event.read(0, 4) == enable << 16
    event.write(0, 4, 0)
    assert event.read(ENABLE, 2) == 0
