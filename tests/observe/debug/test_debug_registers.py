"""What the debug registers can look for, and how DR7 says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.observe.debug.debug_registers import (
    ACCESS,
    EXECUTE,
    WRITE,
    NoDebugRegisterError,
    Watch,
    control_word,
    hits,
    pieces,
)


def test_a_breakpoint_and_watchpoints_in_dr7() -> None:
    # Intel SDM volume 3, 18.2.4: G0 to G2, GE, bit 10; then R/W and LEN of each.
    registers = control_word([Watch(0x1000, 1, EXECUTE), Watch(8, 8, WRITE), Watch(4, 4, ACCESS)])
    assert registers == [0x1000, 8, 4, 0, 0, 0, 0, 0x0F90_062A]


def test_no_watch_leaves_dr7_empty() -> None:
    assert control_word([]) == [0] * 8


@given(st.integers(0, 1 << 48), st.integers(1, 32))
def test_a_range_is_covered_by_aligned_pieces(address: int, size: int) -> None:
    try:
        found = pieces(address, size, WRITE)
    except NoDebugRegisterError:
        return
    assert len(found) <= 4
    covered = [each.address + at for each in found for at in range(each.size)]
    assert covered == list(range(address, address + size))
    assert all(each.address % each.size == 0 for each in found)


def test_four_registers_take_32_bytes_and_no_more() -> None:
    assert len(pieces(0x1000, 32, WRITE)) == 4
    for address, size in ((0x1000, 33), (0x1001, 32), (0, 1 << 60)):
        with pytest.raises(NoDebugRegisterError):
            pieces(address, size, WRITE)


def test_dr6_says_which_was_met() -> None:
    watches = [Watch(address, 1, EXECUTE) for address in (1, 2, 3)]
    assert hits(0xFFFF_0FF2, watches) == [watches[1]]
    assert hits(0xFFFF_4FF0, watches) == []
    assert hits(0x8, watches) == []
