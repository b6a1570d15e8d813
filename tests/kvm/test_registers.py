from hypothesis import given
from hypothesis import strategies as st

from ringlet.kvm.core import lib
from ringlet.kvm.registers import (
    DebugRegisters,
    DescriptorTable,
    Registers,
    Segment,
    SpecialRegisters,
    code_segment,
    data_segment,
)


def bits(count: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << count) - 1)


SEGMENTS = st.builds(Segment, bits(64), bits(32), bits(16), *[bits(8)] * 9)
TABLES = st.builds(DescriptorTable, bits(64), bits(16))
SPECIAL = st.builds(
    SpecialRegisters,
    *[SEGMENTS] * 8,
    TABLES,
    TABLES,
    *[bits(64)] * 7,
    st.binary(min_size=32, max_size=32),
)


@given(st.builds(Registers, *[bits(64)] * 18))
def test_registers_keep_every_bit_in_kvms_structure(registers: Registers) -> None:
    data = registers.pack()
    assert len(data) == lib.ringlet_vcpu_state_size(lib.RINGLET_STATE_REGS)
    assert Registers.unpack(data) == registers


@given(SPECIAL)
def test_special_registers_keep_every_bit_in_kvms_structure(special: SpecialRegisters) -> None:
    data = special.pack()
    assert len(data) == lib.ringlet_vcpu_state_size(lib.RINGLET_STATE_SREGS)
    assert SpecialRegisters.unpack(data) == special


@given(st.builds(DebugRegisters, *[bits(64)] * 6))
def test_debug_registers_keep_every_bit_in_kvms_structure(registers: DebugRegisters) -> None:
    data = registers.pack()
    assert len(data) == lib.ringlet_vcpu_state_size(lib.RINGLET_STATE_DEBUGREGS)
    assert DebugRegisters.unpack(data) == registers


def test_a_fresh_set_has_the_bit_of_rflags_that_is_always_set() -> None:
    assert Registers().rflags == 2
    assert set(Registers()[:-1]) == {0}


def test_code_segments_are_executable_and_of_their_width() -> None:
    for width, db, long in ((16, 0, 0), (32, 1, 0), (64, 0, 1)):
        segment = code_segment(8, bits=width)
        assert (segment.db, segment.l, segment.s, segment.present) == (db, long, 1, 1)
        assert segment.type & 8  # code (Intel SDM volume 3, table 3-1)
        assert segment.selector == 8


def test_data_segments_are_writable() -> None:
    for width, db in ((16, 0), (32, 1), (64, 1)):
        segment = data_segment(0x10, bits=width)
        assert segment.type & 0xA == 2
        assert (segment.db, segment.l, segment.s, segment.present) == (db, 0, 1, 1)


def test_the_granularity_bit_is_set_where_the_limit_needs_it() -> None:
    for make in (code_segment, data_segment):
        assert make(8, limit=0xFFFF, bits=16).g == 0
        assert make(8, limit=0xFFFFF, bits=16).g == 0
        assert make(8, bits=32).g == 1
