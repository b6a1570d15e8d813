from hypothesis import given
from hypothesis import strategies as st

from ringlet.devices.keyboard_controller import KeyboardController


@given(st.integers(0, 0xFF))
def test_the_reset_pulse_alone_resets(command: int) -> None:
    resets: list[bool] = []
    KeyboardController(lambda: resets.append(True)).write(0, 1, command)
    assert len(resets) == (command == 0xFE)


def test_the_status_says_ready_for_a_command_and_no_data() -> None:
    assert KeyboardController(lambda: None).read(0, 1) == 0
