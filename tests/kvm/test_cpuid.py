import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.kvm.cpuid import ENTRY_SIZE, for_vcpu

WORD = st.integers(0, 0xFFFFFFFF)
ENTRIES = st.lists(
    st.tuples(st.sampled_from([0, 1, 7, 0xB, 0x1F, 0x80000001]), *[WORD] * 6), max_size=8
)


def pack(entries: list[tuple[int, ...]]) -> bytes:
    return b"".join(struct.pack("<7I12x", *entry) for entry in entries)


@pytest.mark.parametrize(
    ("leaf", "before", "after"),
    [
        (1, (1, 0x12345678, 3, 4), (1, 0x2A345678, 3, 4)),  # EBX 31..24
        (0xB, (1, 2, 3, 4), (1, 2, 3, 0x2A)),  # EDX
        (0x1F, (1, 2, 3, 4), (1, 2, 3, 0x2A)),
        (7, (1, 2, 3, 4), (1, 2, 3, 4)),
    ],
)
def test_the_apic_id_stands_where_the_manual_says(
    leaf: int, before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    assert for_vcpu(pack([(leaf, 5, 6, *before)]), 0x2A) == pack([(leaf, 5, 6, *after)])


@given(ENTRIES, st.integers(0, 255))
def test_all_else_stays_as_it_was(entries: list[tuple[int, ...]], apic_id: int) -> None:
    before = pack(entries)
    after = for_vcpu(before, apic_id)
    assert len(after) == len(before)
    for i, (leaf, *_) in enumerate(entries):
        old, new = (data[i * ENTRY_SIZE : (i + 1) * ENTRY_SIZE] for data in (before, after))
        changed = {at for at in range(ENTRY_SIZE) if old[at] != new[at]}
        assert changed <= {1: {19}, 0xB: {*range(24, 28)}, 0x1F: {*range(24, 28)}}.get(leaf, set())
    assert for_vcpu(after, apic_id) == after
