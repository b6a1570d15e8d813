from hypothesis import given
from hypothesis import strategies as st

from ringlet.devices.cursor import Cursor

BYTES = st.integers(0, 0xFF)


@given(BYTES, BYTES)
def test_the_cursors_location_reads_as_it_is_written(high: int, low: int) -> None:
    cursor = Cursor()
    for index, value in ((0x0E, high), (0x0F, low)):
        cursor.write(0, 1, index)
        assert cursor.read(0, 1) == index
        assert cursor.read(1, 1) == 0
        cursor.write(1, 1, value)
    for index, value in ((0x0E, high), (0x0F, low)):
        cursor.write(0, 1, index)
        assert cursor.read(1, 1) == value


def test_a_word_is_index_and_register() -> None:
    cursor = Cursor()
    cursor.write(0, 2, 0x120F)
    cursor.write(1, 2, 0x13)  # the second byte lies beyond
    assert (cursor.read(0, 1), cursor.read(1, 1)) == (0x0F, 0x13)
    assert cursor.read(0, 2) == 0xFFFF


@given(BYTES.filter(lambda index: index not in (0x0E, 0x0F)), BYTES)
def test_no_other_register_is_there(index: int, value: int) -> None:
    cursor = Cursor()
    cursor.write(0, 1, index)
    cursor.write(1, 1, value)
    assert cursor.read(1, 1) == 0xFF
