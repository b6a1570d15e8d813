from hypothesis import given
from hypothesis import strategies as st

from ringlet.board.acpi import SLEEP_TYPE_S5
from ringlet.devices.acpi_pm import Pm1Control, Pm1Event

from .conftest import Line

STATUS, ENABLE = 0, 2
BUTTON = 1 << 8
SLP_EN = 1 << 13


def new_event() -> tuple[Pm1Event, Line]:
    line = Line()
    return Pm1Event(line), line


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
def test_events_can_be_enabled_and_none_happens_of_itself(status: int, enable: int) -> None:
    event, line = new_event()
    event.write(STATUS, 2, status)
    event.write(ENABLE, 2, enable)
    assert event.read(STATUS, 2) == 0
    assert event.read(ENABLE, 2) == enable
    assert event.read(0, 4) == enable << 16
    event.write(0, 4, 0)
    assert event.read(ENABLE, 2) == 0
    assert True not in line.levels


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_registers_are_the_same_by_bytes(first: int, second: int) -> None:
    whole, bytewise = new_event()[0], new_event()[0]
    for enable in first, second:
        whole.write(ENABLE, 2, enable)
        bytewise.write(ENABLE, 1, enable & 0xFF)
        bytewise.write(ENABLE + 1, 1, enable >> 8)
        whole.press_power_button()
        bytewise.press_power_button()
        got = [bytewise.read(offset, 1) for offset in range(4)]
        assert int.from_bytes(got, "little") == whole.read(0, 4)


def test_a_pressed_button_interrupts_until_its_status_is_cleared() -> None:
    event, line = new_event()
    event.write(ENABLE, 2, BUTTON)
    assert event.press_power_button()
    assert event.read(STATUS, 2) == BUTTON
    assert line.levels[-1]
    event.write(STATUS, 2, 0xFFFF & ~BUTTON)
    assert event.read(STATUS, 2) == BUTTON, "others' bits clear others"
    assert line.levels[-1]
    event.write(STATUS + 1, 1, BUTTON >> 8)
    assert event.read(STATUS, 2) == 0
    assert not line.levels[-1]
    assert event.read(ENABLE, 2) == BUTTON


def test_a_guest_that_disables_the_button_gets_no_interrupt_and_keeps_the_status() -> None:
    event, line = new_event()
    event.write(ENABLE, 2, BUTTON)
    event.press_power_button()
    event.write(ENABLE, 2, 0)
    assert not line.levels[-1]
    assert event.read(STATUS, 2) == BUTTON
    event.write(ENABLE, 2, BUTTON)
    assert line.levels[-1]


@given(st.integers(0, 0xFFFF).filter(lambda enable: not enable & BUTTON))
def test_a_button_that_is_not_enabled_is_not_pressed(enable: int) -> None:
    event, line = new_event()
    event.write(ENABLE, 2, enable)
    assert not event.press_power_button()
    assert event.read(STATUS, 2) == 0
    assert True not in line.levels


def test_a_status_that_is_cleared_while_the_line_rises_leaves_it_low() -> None:
    class Racing(Line):
        """Another vCPU clears the status between the look at it and the line's rise."""

        def set(self, level: bool) -> None:
            if level and not self.levels[-1]:
                event.state.status = 0
            super().set(level)

    line = Racing()
    event = Pm1Event(line)
    event.write(ENABLE, 2, BUTTON)
    event.press_power_button()
    assert line.levels == [False, True, False]
