from hypothesis import given
from hypothesis import strategies as st

from ringlet.devices.pvpanic import Pvpanic


@given(st.integers(0, 0xFF))
def test_the_panic_bit_alone_reports_a_panic(value: int) -> None:
    panics: list[bool] = []
    Pvpanic(lambda: panics.append(True)).write(0, 1, value)
    assert len(panics) == value & 1


def test_a_driver_learns_of_both_events() -> None:
    assert Pvpanic(lambda: None).read(0, 1) == 3
