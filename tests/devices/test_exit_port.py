import pytest

from ringlet.devices.exit_port import ExitPort


@pytest.mark.parametrize(
    ("size", "value", "status"), [(1, 0, 0), (1, 255, 255), (4, 0x12345, 0x45)]
)
def test_a_write_exits_with_its_low_byte(size: int, value: int, status: int) -> None:
    statuses: list[int] = []
    ExitPort(statuses.append).write(0, size, value)
    assert statuses == [status]


@pytest.mark.parametrize(("size", "ones"), [(1, 0xFF), (2, 0xFFFF), (4, 0xFFFFFFFF)])
def test_a_read_gives_all_ones_and_ends_nothing(size: int, ones: int) -> None:
    statuses: list[int] = []
    assert ExitPort(statuses.append).read(0, size) == ones
    assert statuses == []
