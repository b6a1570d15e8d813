"""Walks of page tables: as KVM translates, and as the manual says."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlet.kvm.core import KvmError
from ringlet.kvm.registers import SpecialRegisters
from ringlet.observe.debug.paging import Processor, Walk, mode_of, walk

from ...examples import examples
from ...kvm.guest import (
    CR0_PE,
    CR0_PG,
    CR4_PAE,
    EFER_LMA,
    EFER_LME,
    Guest,
    bare,
    long_mode_registers,
)

pytestmark = pytest.mark.needs_kvm

CR4_PSE, CR4_LA57 = 1 << 4, 1 << 12
EFER_NXE = 1 << 11
PAGES = 16  # of memory
P, W, U, PS, G, PAT_LARGE, NX = 1, 2, 4, 1 << 7, 1 << 8, 1 << 12, 1 << 63
MODES = ("32-bit", "PAE", "4-level", "5-level")


def special_registers(before: SpecialRegisters, mode: str, cr3: int, nx: bool) -> SpecialRegisters:
    special = long_mode_registers(before)
    cr4 = special.cr4 & ~CR4_PAE | CR4_PSE
    efer = EFER_LME | EFER_LMA if mode in ("4-level", "5-level") else 0
    if mode != "32-bit":
        cr4 |= CR4_PAE
    if mode == "5-level":
        cr4 |= CR4_LA57
    cs = special.cs if efer else special.cs._replace(l=0, db=1)
    efer |= EFER_NXE if nx else 0
    return special._replace(cs=cs, cr0=special.cr0 | CR0_PE | CR0_PG, cr3=cr3, cr4=cr4, efer=efer)


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with bare(b"\xf4") as made:
        made.vcpu.cpuid = made.system.supported_cpuid
        yield made


FRAMES = st.one_of(st.integers(0, PAGES - 1), st.integers(0, 1 << 40))
FLAGS = st.sets(st.sampled_from([P, W, U, 8, 16, 32, 64, PS, G, 1 << 9, PAT_LARGE, NX]))
ODD_BITS = st.one_of(
    st.just(0), st.just(0), st.integers(0, (1 << 64) - 1).map(lambda x: x & x >> 7)
)
ENTRIES = st.lists(st.tuples(FRAMES, FLAGS, ODD_BITS), min_size=5, max_size=5)


@settings(max_examples=examples(2000))
@given(
    mode=st.sampled_from(MODES),
    root=st.integers(0, PAGES - 1),
    linear=st.integers(0, (1 << 64) - 1),
    entries=ENTRIES,
    nx=st.booleans(),
)
def test_any_tables_translate_as_kvm_says(
    guest: Guest,
    mode: str,
    root: int,
    linear: int,
    entries: list[tuple[int, set[int], int]],
    nx: bool,
) -> None:
    vcpu, memory = guest.vcpu, guest.memory
    memory.write(0, bytes(PAGES * 4096))
    linear = canonical(linear, mode)
    size = 4 if mode == "32-bit" else 8
    table = root * 4096
    for shift, width in shifts(mode):
        (frame, flags, odd), *entries = entries
        value = frame << 12 | sum(flags | {P}) | odd
        if mode == "32-bit":
            value &= (
                0xFFFF_FFFF & ~0x1E000 if value & PS else 0xFFFF_FFFF
            )  # KVM has 36 bits, not 40
        at = table + (linear >> shift & (1 << width) - 1) * size
        if at + size <= PAGES * 4096:
            memory.write(at, value.to_bytes(8, "little")[:size])
        table = value & 0xFFFF_FFFF_F000
    special = special_registers(vcpu.special_registers, mode, root * 4096, nx)
    with suppress(KvmError):  # this host's processor has no such mode
        vcpu.special_registers = special
    special = vcpu.special_registers  # a software KVM has no paging outside of long mode
    assert mode in ("32-bit", "PAE", "5-level") or mode_of(special) == mode
    linear = canonical(linear, mode_of(special))
    found = walk(linear, special, memory.read, Processor.of(vcpu.cpuid))
    assert_whole(found)
    assert found.physical == vcpu.translate(linear), found


def canonical(linear: int, mode: str) -> int:
    """KVM_TRANSLATE takes any address; a processor, only these."""
    if mode in ("none", "32-bit", "PAE"):
        return linear & 0xFFFF_FFFF
    bits = 57 if mode == "5-level" else 48
    low = linear & (1 << bits) - 1
    return low | ((1 << 64) - (1 << bits) if low >> bits - 1 else 0)


def shifts(mode: str) -> list[tuple[int, int]]:
    if mode == "32-bit":
        return [(22, 10), (12, 10)]
    levels = [(48, 9), (39, 9), (30, 9), (21, 9), (12, 9)]
    if mode == "PAE":
        return [(30, 2), *levels[3:]]
    return levels if mode == "5-level" else levels[1:]


def assert_whole(found: Walk) -> None:
    assert all(line.isprintable() and len(line) < 200 for line in found.lines())
    assert (found.physical is None) == found.end.startswith("not mapped: ")
    assert all(step.target is not None for step in found.steps[:-1])


# The same tables, a mode each, by hand.
def test_a_walk_of_four_levels_is_told_level_by_level(guest: Guest) -> None:
    put(guest, {0x1000: 0x2027, 0x2008: 0x3007, 0x3010: 0x4005, 0x4018: 0x5163 | NX})
    special = special_registers(guest.vcpu.special_registers, "4-level", 0x1000, nx=True)
    found = walk(0x40403123, special, guest.memory.read)
    assert found.lines() == [
        "linear 0x40403123: 4-level paging, CR3 names the table at 0x1000",
        "PML4E    0 of the table at 0x1000: 0x2027 -> 0x2000  present writable user accessed",
        "PDPTE    1 of the table at 0x2000: 0x3007 -> 0x3000  present writable user",
        "PDE      2 of the table at 0x3000: 0x4005 -> 0x4000  present user",
        "PTE      3 of the table at 0x4000: 0x8000000000005163 -> 0x5000  "
        "present writable accessed dirty global no-execute",
        "mapped: physical 0x5123, in a page of 4 KiB",
        "ring 0 may read and write; ring 3 may do nothing",
    ]


def test_a_walk_of_five_levels_begins_with_a_pml5e(guest: Guest) -> None:
    put(guest, {0x1008: 0x2007, 0x2000: 0x3007, 0x3000: 0x4007, 0x4000: 0x20_0087})
    special = special_registers(guest.vcpu.special_registers, "5-level", 0x1000, nx=False)
    found = walk(1 << 48 | 0x1234, special, guest.memory.read)
    assert [step.name for step in found.steps] == ["PML5E", "PML4E", "PDPTE", "PDE"]
    assert (found.physical, found.page_size) == (0x201234, 2 << 20)
    assert found.rights == "ring 0 may read, write and execute; ring 3 may read, write and execute"


def test_a_walk_of_pae_begins_with_one_of_four_entries_without_rights(guest: Guest) -> None:
    put(guest, {0x1028: 0x2001, 0x2008: 0x3003, 0x3008: 0x4001})
    special = special_registers(guest.vcpu.special_registers, "PAE", 0x1020, nx=False)
    found = walk(0x4020_1555, special, guest.memory.read)
    assert [step.name for step in found.steps] == ["PDPTE", "PDE", "PTE"]
    assert (found.root, found.physical) == (0x1020, 0x4555)
    assert found.rights == "ring 0 may read, write and execute; ring 3 may do nothing"  # CR0.WP = 0
    put(guest, {0x1028: 0x2003})
    assert "reserved bits set: 1" in walk(0x4020_1555, special, guest.memory.read).end


@pytest.mark.parametrize(("pse", "physical", "names"), [(1, 0x2_0065_4321, 1), (0, None, 2)])
def test_a_large_page_of_32_bits_has_upper_address_bits(
    guest: Guest, pse: int, physical: int | None, names: int
) -> None:
    put(guest, {0x1004: 0x0040_4087})  # 4 MiB at 0x2_0040_0000
    special = special_registers(guest.vcpu.special_registers, "32-bit", 0x1000, nx=False)
    special = special._replace(cr4=CR4_PSE * pse)
    found = walk(0x65_4321, special, guest.memory.read)
    assert (found.physical, len(found.steps)) == (physical, names)


def test_without_paging_the_address_is_the_physical_one(guest: Guest) -> None:
    special = special_registers(guest.vcpu.special_registers, "32-bit", 0, nx=False)
    found = walk(0x1234, special._replace(cr0=1), guest.memory.read)
    assert (found.mode, found.physical, found.steps) == ("none", 0x1234, ())


@pytest.mark.parametrize(
    ("tables", "linear", "end"),
    [
        ({0x1000: 0}, 0, "not mapped: the PML4E isn't present (bit 0 is 0)"),
        ({0x1000: 0x2003}, 0, "not mapped: the PDPTE isn't present (bit 0 is 0)"),
        (
            {0x1000: 0x7000_0003},
            0,
            "not mapped: the table of the PDPTE isn't in the guest's memory",
        ),
        ({0x1000: 0x2083}, 0, "not mapped: the PML4E has reserved bits set: 7"),
        (
            {},
            1 << 47,
            "not mapped: the address isn't canonical, its upper bits aren't all alike",
        ),
    ],
)
def test_a_walk_says_why_it_ends(
    guest: Guest, tables: dict[int, int], linear: int, end: str
) -> None:
    put(guest, tables)
    special = special_registers(guest.vcpu.special_registers, "4-level", 0x1000, nx=True)
    found = walk(linear, special, guest.memory.read)
    assert (found.end, found.physical) == (end, None)
    assert_whole(found)


@pytest.mark.parametrize(
    ("bits", "cr0", "cr4", "rights"),
    [
        (U, 1 << 16, 0, "ring 0 may read and execute; ring 3 may read and execute"),
        (U, 0, 0, "ring 0 may read, write and execute; ring 3 may read and execute"),
        (U | W | NX, 0, 0, "ring 0 may read and write; ring 3 may read and write"),
        (W, 0, 0, "ring 0 may read, write and execute; ring 3 may do nothing"),
        (
            U | W,
            0,
            3 << 20,
            "ring 0 may read and write, with RFLAGS.AC set alone (CR4.SMAP); "
            "ring 3 may read, write and execute",
        ),
    ],
)
def test_the_rights_are_those_of_all_levels_and_of_the_control_registers(
    guest: Guest, bits: int, cr0: int, cr4: int, rights: str
) -> None:
    put(guest, {0x1000: 0x2007, 0x2000: 0x3007, 0x3000: P | PS | bits})
    special = special_registers(guest.vcpu.special_registers, "4-level", 0x1000, nx=True)
    special = special._replace(cr0=special.cr0 & ~(1 << 16) | cr0, cr4=special.cr4 | cr4)
    assert walk(0, special, guest.memory.read).rights == rights


def put(guest: Guest, tables: dict[int, int]) -> None:
    guest.memory.write(0, bytes(PAGES * 4096))
    for address, value in tables.items():
        guest.memory.write(address, value.to_bytes(8, "little"))
