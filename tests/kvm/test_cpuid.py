"""CPUID as a guest sees it: read the way the manuals tell a kernel to."""

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.kvm.cpuid import ENTRY_SIZE, MAX_ENTRIES, for_vcpu
from ringlet.kvm.system import System
from ringlet.kvm.vm import Vm

LEAVES = [0, 1, 4, 7, 0xA, 0xB, 0x1F, 0x40000000, 0x40000001]
AMD_LEAVES = [0x80000001, 0x80000008, 0x8000001D, 0x8000001E, 0x80000026]
CHANGED = {1, 4, 0xA, 0xB, 0x1F, 0x40000001, *AMD_LEAVES}
WORD = st.integers(0, 0xFFFFFFFF)
ENTRY = st.tuples(st.sampled_from([*LEAVES, *AMD_LEAVES]), st.integers(0, 4), *[WORD] * 5)
ENTRIES = st.lists(ENTRY, max_size=12, unique_by=lambda entry: entry[:2])
VCPUS = st.integers(1, 1024).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n)))

Registers = tuple[int, int, int, int]
Cpuid = dict[tuple[int, int], Registers]

INTEL = (0, 0, 0, 0x1F, 0x756E6547, 0x6C65746E, 0x49656E69)
AMD = (0, 0, 0, 0x10, 0x68747541, 0x444D4163, 0x69746E65)
# Caches as leaf 4 and 0x8000001D have them: type and level, private or shared, nothing else.
L1D, L2, L3 = 0x21, 0x43, 0x63


def pack(*entries: tuple[int, ...]) -> bytes:
    return b"".join(struct.pack("<7I12x", *entry) for entry in entries)


def unpack(data: bytes) -> Cpuid:
    found: Cpuid = {}
    for function, index, _, *registers in struct.iter_unpack("<7I12x", data):
        assert (function, index) not in found
        found[function, index] = tuple(registers)
    return found


def bits(value: int, high: int, low: int) -> int:
    return value >> low & (1 << high - low + 1) - 1


@given(ENTRIES, VCPUS)
def test_any_list_comes_out_well_formed(
    entries: list[tuple[int, ...]], vcpu: tuple[int, int]
) -> None:
    before = pack(*entries)
    after = for_vcpu(before, *vcpu)
    assert len(after) % ENTRY_SIZE == 0
    assert len(after) <= len(before) + 4 * ENTRY_SIZE
    found = unpack(after)
    assert {function for function, _ in found} <= {entry[0] for entry in entries}
    for function, index, _, *registers in entries:
        if function not in CHANGED:
            assert found[function, index] == tuple(registers)
    assert for_vcpu(after, *vcpu) == after


@given(VCPUS)
def test_extended_topology_is_one_thread_a_core_and_one_socket(vcpu: tuple[int, int]) -> None:
    apic_id, count = vcpu
    for leaf in (0xB, 0x1F):
        found = unpack(
            for_vcpu(pack(INTEL, (leaf, 0, 1, 9, 9, 9, 9), (leaf, 1, 1, 9, 9, 9, 9)), *vcpu)
        )
        levels = [found[leaf, index] for index in range(3)]
        (shift, threads, thread_type, _), (width, cores, core_type, _), last = levels
        assert (shift, threads, thread_type) == (0, 1, 1 << 8)
        assert (cores, core_type) == (count, 2 << 8 | 1)
        assert (1 << width) // 2 < max(count, 1) <= 1 << width, "every ID fits, barely"
        assert apic_id >> width == 0, "in the one socket"
        assert last[:3] == (0, 0, 2)
        assert {level[3] for level in levels} == {apic_id}


@given(VCPUS)
def test_leaf_1_tells_the_initial_apic_id_and_how_many_there_are(vcpu: tuple[int, int]) -> None:
    apic_id, count = vcpu
    _, ebx, ecx, edx = unpack(for_vcpu(pack(INTEL, (1, 0, 0, 9, 0x800, 0, 0)), *vcpu))[1, 0]
    assert bits(ebx, 31, 24) == apic_id & 0xFF
    assert min(count, 255) <= bits(ebx, 23, 16) <= max(2 * count - 1, 1)
    assert bits(ebx, 15, 8) == 8, "the size of a cache line stays"
    assert bits(edx, 28, 28) == (count > 1)
    assert bits(ecx, 31, 31), "a hypervisor is there"
    assert bits(ecx, 24, 24), "KVM's local APIC has a TSC deadline"


@given(VCPUS)
def test_intels_caches_are_a_cores_but_for_the_last(vcpu: tuple[int, int]) -> None:
    _, count = vcpu
    caches = [(4, i, 1, kind | 0xFFFFC000, 1, 2, 3) for i, kind in enumerate((L1D, L2, L3, 0))]
    found = unpack(for_vcpu(pack(INTEL, *caches), *vcpu))
    for index, (kind, shared) in enumerate([(L1D, False), (L2, False), (L3, True)]):
        eax, *rest = found[4, index]
        assert eax & 0x3FFF == kind
        assert rest == [1, 2, 3]
        sharers = bits(eax, 25, 14) + 1
        assert count <= sharers < max(2 * count, 2) if shared else sharers == 1
        assert bits(eax, 31, 26) + 1 >= min(count, 64)
    assert found[4, 3] == (0xFFFFC000, 1, 2, 3), "the end of the list"


@given(VCPUS)
def test_amds_leaves_agree(vcpu: tuple[int, int]) -> None:
    apic_id, count = vcpu
    caches = [(0x8000001D, i, 1, kind | 0x3FFC000, 1, 2, 3) for i, kind in enumerate((L1D, L3))]
    entries = pack(
        AMD,
        (0x80000001, 0, 0, 0, 0, 0xFF, 0),
        (0x80000008, 0, 0, 0x3030, 5, 0x7001, 0),
        *caches,
        (0x8000001E, 0, 0, 77, 0x101, 0x301, 0),
    )
    found = unpack(for_vcpu(entries, *vcpu))
    assert bits(found[0x80000001, 0][2], 1, 1) == (count > 1), "CmpLegacy: cores, not threads"
    assert found[0x80000001, 0][2] | 2 == 0xFF
    ecx = found[0x80000008, 0][2]
    assert bits(ecx, 7, 0) == min(count, 256) - 1
    assert 1 << bits(ecx, 15, 12) >= count
    assert bits(found[0x8000001D, 0][0], 25, 14) == 0
    assert bits(found[0x8000001D, 1][0], 25, 14) == count - 1
    extended, core, node, _ = found[0x8000001E, 0]
    assert (extended, core, node) == (apic_id, apic_id & 0xFF, 0)


def test_an_intel_has_none_of_amds_bits() -> None:
    entries = [(0x80000001, 0, 0, 0, 0, 0x121, 0), (0x80000008, 0, 0, 0x3030, 0, 0, 0)]
    after = unpack(for_vcpu(pack(INTEL, *entries), 1, 4))
    assert after[0x80000001, 0] == (0, 0, 0x121, 0)
    assert after[0x80000008, 0] == (0x3030, 0, 0, 0)


def test_paravirtual_features_are_those_without_hypercalls() -> None:
    hypercalls = {7, 11, 13, 16, 17}
    eax, *_ = unpack(for_vcpu(pack((0x40000001, 0, 0, 0xFFFFFFFF, 0, 0, 0)), 0))[0x40000001, 0]
    assert {bit for bit in range(32) if not eax >> bit & 1} == hypercalls


def test_there_are_no_performance_counters() -> None:
    entries = pack((1, 0, 0, 0, 0, 0xFFFFFFFF, 0), (0xA, 0, 0, 1, 2, 3, 4))
    found = unpack(for_vcpu(entries, 0))
    assert found[0xA, 0] == (0, 0, 0, 0)
    assert found[1, 0][2] == 0xFFFF7FFF, "nor the bit that says what they can do"


@pytest.fixture
def supported() -> Iterator[tuple[System, bytes]]:
    with System() as system:
        yield system, system.supported_cpuid


@pytest.mark.needs_kvm
@pytest.mark.parametrize("count", [1, 2, 5])
def test_kvm_takes_it_and_gives_it_to_the_guest(
    supported: tuple[System, bytes], count: int
) -> None:
    system, entries = supported
    with Vm(system) as vm:
        vm.create_irqchip()
        for number in range(count):
            vcpu = vm.create_vcpu()
            chosen = for_vcpu(entries, number, count)
            assert len(chosen) <= MAX_ENTRIES * ENTRY_SIZE
            vcpu.cpuid = chosen
            # Linux before 6.3 doesn't say how many there are.
            found = unpack(vcpu.cpuid[: len(chosen)])
            assert bits(found[1, 0][1], 31, 24) == number
            assert found[0xB, 1][1:] == (count, 0x201, number)
            assert found[0x40000000, 0][1:] == (0x4B4D564B, 0x564B4D56, 0x4D), "KVMKVMKVM"
