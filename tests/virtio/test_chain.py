"""The chains of a virtqueue, driven by hand. Source: virtio 1.2, 2.7.4 and 2.7.5."""

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.kvm.memory import GuestMemory
from ringlet.virtio.queue import DriverError

from .driver import INDIRECT, NEXT, WRITE, descriptor
from .queue_pair import (
    CHAIN_MAX,
    HIGH,
    LOW,
    PAGE,
    RINGS,
    TABLE,
    TOP,
    Pair,
    places,
    seen,
    three_regions,
)


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    with three_regions() as memory:
        yield memory


# Chains (2.7.4, 2.7.5).


def test_a_chain_is_the_readable_buffers_then_the_writable(memory: GuestMemory) -> None:
    chain = Pair(memory).pop((0x4000, 16, 0), (LOW, 1, 0), (TOP, PAGE, WRITE), (HIGH - 1, 1, WRITE))
    assert chain.head == 0
    assert seen(chain.readable) == places(memory, (0x4000, 16), (LOW, 1))
    assert seen(chain.writable) == places(memory, (TOP, PAGE), (HIGH - 1, 1))


def test_what_is_written_to_a_buffer_is_in_guest_memory(memory: GuestMemory) -> None:
    chain = Pair(memory).pop((LOW, 5, WRITE))
    chain.writable[0][:] = b"hello"
    assert memory.read(LOW, 6) == b"hello\0"


def test_buffers_may_be_one_after_the_other_or_the_same(memory: GuestMemory) -> None:
    chain = Pair(memory).pop((0x4000, 16, 0), (0x4010, 16, 0), (0x4000, 16, 0), (0x4000, 1, WRITE))
    assert seen(chain.readable) == places(memory, (0x4000, 16), (0x4010, 16), (0x4000, 16))
    assert seen(chain.writable) == places(memory, (0x4000, 1))


def test_a_buffer_of_no_bytes_is_left_out(memory: GuestMemory) -> None:
    chain = Pair(memory).pop(
        (0x4000, 0, WRITE), (0x4000, 16, 0), (1 << 60, 0, 0), (0x5000, 1, WRITE), (0x5000, 0, 0)
    )
    assert len(chain.readable) == len(chain.writable) == 1


@pytest.mark.parametrize(
    ("address", "size"),
    [
        (0x2_0000 - 1, 2),
        (0x2_0000, 1),
        (LOW - 1, 1),
        (LOW - 1, 2),
        (HIGH - 1, 2),
        (0, 0xFFFF_FFFF),
        (LOW, 0xFFFF_FFFF),
        (TOP, PAGE + 1),
        (TOP + PAGE - 1, 2),
        (TOP + PAGE - 1, 0xFFFF_FFFF),
        (1 << 63, 1),
    ],
)
@pytest.mark.parametrize("flags", [0, WRITE])
def test_a_buffer_outside_memory_breaks_the_chain(
    memory: GuestMemory, address: int, size: int, flags: int
) -> None:
    with pytest.raises(DriverError):
        Pair(memory).pop((address, size, flags))


def test_readable_after_writable_breaks_the_chain(memory: GuestMemory) -> None:
    with pytest.raises(DriverError):
        Pair(memory).pop((0x4000, 1, 0), (0x4000, 1, WRITE), (0x4000, 1, 0))


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("length", [1, 2, 8])
def test_a_loop_ends(memory: GuestMemory, length: int, size: int) -> None:
    pair = Pair(memory)
    for index in range(length):
        pair.driver.describe(index, 0x4000, size, NEXT, (index + 1) % length)
    pair.driver.offer(0)
    with pytest.raises(DriverError):
        pair.device.pop()


@pytest.mark.parametrize("head", [8, 9, 0x7FFF, 0xFFFF])
def test_a_head_outside_the_table_breaks_the_rules(memory: GuestMemory, head: int) -> None:
    pair = Pair(memory)
    pair.driver.offer(head)
    with pytest.raises(DriverError):
        pair.device.pop()


@pytest.mark.parametrize("next", [8, 0xFFFF])
def test_a_next_outside_the_table_breaks_the_rules(memory: GuestMemory, next: int) -> None:
    pair = Pair(memory)
    pair.driver.describe(0, 0x4000, 1, NEXT, next)
    pair.driver.offer(0)
    with pytest.raises(DriverError):
        pair.device.pop()


def test_next_counts_only_where_the_flag_says_so(memory: GuestMemory) -> None:
    pair = Pair(memory)
    pair.driver.describe(0, 0x4000, 1, 0, 0xFFFF)
    pair.driver.offer(0)
    chain = pair.device.pop()
    assert chain is not None
    assert len(chain.readable) == 1


# Indirect descriptors (2.7.5.3).


def indirect(memory: GuestMemory, count: int, at: int = TABLE, size: int = 1) -> None:
    """A table of `count` buffers, chained one after the other."""
    table = b"".join(
        descriptor(0x4000 + index % 16, size, NEXT * (index < count - 1), (index + 1) & 0xFFFF)
        for index in range(count)
    )
    memory.write(at, table)


@pytest.mark.parametrize("flags", [0, WRITE], ids=["", "write flag, which is ignored"])
@pytest.mark.parametrize("before", [0, 1, 7])
@pytest.mark.parametrize("at", [TABLE, TABLE + 1, TABLE + 8], ids=["aligned", "odd", "8"])
def test_an_indirect_table_comes_after_any_number_of_descriptors(
    memory: GuestMemory, before: int, flags: int, at: int
) -> None:
    indirect(memory, 20, at)
    buffers = [(0x5000, 16, 0)] * before
    chain = Pair(memory).pop(*buffers, (at, 20 * 16, INDIRECT | flags))
    wanted = [(0x5000, 16)] * before + [(0x4000 + index % 16, 1) for index in range(20)]
    assert seen(chain.readable) == places(memory, *wanted)


@pytest.mark.parametrize("size", [0, 1, 15, 17, 31, 0xFFFF_FFFF])
def test_an_indirect_table_has_whole_descriptors_and_at_least_one(
    memory: GuestMemory, size: int
) -> None:
    indirect(memory, 2)
    with pytest.raises(DriverError):
        Pair(memory).pop((TABLE, size, INDIRECT))


@pytest.mark.parametrize(
    ("address", "size"),
    [(0x2_0000 - 16, 32), (LOW - 16, 32), (TOP, PAGE + 16), (TOP, 0xFFFF_FFF0), (1 << 60, 16)],
)
def test_an_indirect_table_lies_in_memory(memory: GuestMemory, address: int, size: int) -> None:
    with pytest.raises(DriverError):
        Pair(memory).pop((address, size, INDIRECT))


def test_an_indirect_table_in_an_indirect_table_is_refused(memory: GuestMemory) -> None:
    memory.write(TABLE, descriptor(TABLE + 16, 16, INDIRECT) + descriptor(0x4000, 1))
    with pytest.raises(DriverError):
        Pair(memory).pop((TABLE, 16, INDIRECT))


def test_an_indirect_descriptor_is_the_last(memory: GuestMemory) -> None:
    indirect(memory, 1)
    with pytest.raises(DriverError):
        Pair(memory).pop((TABLE, 16, INDIRECT | NEXT), (0x4000, 1, 0))


def test_a_next_outside_the_indirect_table_breaks_the_chain(memory: GuestMemory) -> None:
    memory.write(TABLE, descriptor(0x4000, 1, NEXT, 1))
    with pytest.raises(DriverError):
        Pair(memory).pop((TABLE, 16, INDIRECT))


@pytest.mark.parametrize("before", [0, 3])
def test_a_chain_has_a_bounded_number_of_buffers(memory: GuestMemory, before: int) -> None:
    for beyond in (0, 1):
        count = CHAIN_MAX - before + beyond
        indirect(memory, count)
        buffers = [*[(0x5000, 1, 0)] * before, (TABLE, count * 16, INDIRECT)]
        if beyond:
            with pytest.raises(DriverError):
                Pair(memory).pop(*buffers)
        else:
            assert len(Pair(memory).pop(*buffers).readable) == CHAIN_MAX


# Against a reader of the same specification, byte for byte.


def walk(memory: GuestMemory, size: int, head: int) -> list[tuple[int, int, bool]] | None:
    """The chain's buffers, None where the driver broke the rules."""
    table, limit, index, inside = RINGS, size, head, False
    buffers: list[tuple[int, int, bool]] = []
    for _ in range(CHAIN_MAX + 1):
        if index >= limit:
            return None
        address, length, flags, next = struct.unpack("<QIHH", memory.read(table + 16 * index, 16))
        if flags & INDIRECT:
            if inside or flags & NEXT or length % 16 or not lies(memory, address, length):
                return None
            table, limit, index, inside = address, length // 16, 0, True
            continue
        if length:
            write = bool(flags & WRITE)
            if not lies(memory, address, length) or (buffers and buffers[-1][2] and not write):
                return None
            buffers.append((address, length, write))
            if len(buffers) > CHAIN_MAX:
                return None
        if not flags & NEXT:
            return buffers
        index = next
    return None


def lies(memory: GuestMemory, address: int, size: int) -> bool:
    return any(
        region.address <= address and address + size <= region.address + region.size
        for region in memory.regions
    )


ADDRESSES = st.one_of(
    st.sampled_from([0x4000, TABLE, TABLE + 8, RINGS, LOW, HIGH - 16, TOP, TOP + PAGE - 32]),
    st.builds(int.__add__, st.sampled_from([0x2_0000, LOW, HIGH, TOP]), st.integers(-40, 40)).map(
        lambda address: address % (1 << 64)
    ),
    st.integers(0, (1 << 64) - 1),
)
LENGTHS = st.one_of(
    st.sampled_from([16, 32, 48, 64, 0, 1, PAGE, 0xFFFF_FFFF, 0xFFFF_FFF0]),
    st.integers(0, (1 << 32) - 1),
)
DESCRIPTORS = st.builds(
    descriptor,
    ADDRESSES,
    LENGTHS,
    st.one_of(st.integers(0, 7), st.sampled_from([NEXT, NEXT | WRITE]), st.integers(0, 0xFFFF)),
    st.one_of(st.integers(0, 9), st.integers(0, 0xFFFF)),
)


@given(
    st.lists(DESCRIPTORS, min_size=8, max_size=8),
    st.lists(DESCRIPTORS, min_size=4, max_size=4),
    st.integers(0, 8),
)
def test_a_chain_is_read_as_a_plain_reading_of_the_specification_has_it(
    table: list[bytes], second: list[bytes], head: int
) -> None:
    with three_regions() as memory:
        memory.write(TABLE, b"".join(second))
        check(memory, b"".join(table), head)


def check(memory: GuestMemory, table: bytes, head: int) -> None:
    pair = Pair(memory)
    memory.write(RINGS, table)
    pair.driver.offer(head)
    wanted = walk(memory, 8, head)
    if wanted is None:
        with pytest.raises(DriverError):
            pair.device.pop()
        return
    chain = pair.device.pop()
    assert chain is not None
    assert chain.head == head
    for views, write in ((chain.readable, False), (chain.writable, True)):
        buffers = [(address, size) for address, size, flag in wanted if flag == write]
        assert seen(views) == places(memory, *buffers)
