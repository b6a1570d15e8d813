"""RFLAGS, control registers and EFER in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.kvm.registers import Registers
from ringlet.observe.debug import flags
from ringlet.observe.debug.flags import Flag, control_lines, names, rflags_names, spell_out

from ...kvm.guest import long_mode

TABLES = {
    "rflags": flags.RFLAGS,
    "cr0": flags.CR0,
    "cr3": flags.CR3,
    "cr4": flags.CR4,
    "efer": flags.EFER,
    "apic_base": flags.APIC_BASE,
}


def test_the_names_are_those_of_the_bits_that_are_1() -> None:
    assert rflags_names(0x202) == "IF"
    assert rflags_names(0x2) == "-"
    assert rflags_names(0x3246) == "PF ZF IF IOPL=3"
    assert names(0x80000011, flags.CR0) == "PE ET PG"
    assert names(0xD01, flags.EFER) == "SCE LME LMA NXE"


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_no_bit_and_no_name_is_there_twice(table: tuple[Flag, ...]) -> None:
    assert len({flag.bit for flag in table}) == len({flag.name for flag in table}) == len(table)
    assert [flag.bit for flag in table] == sorted(flag.bit for flag in table)


@given(st.sampled_from(sorted(TABLES)), st.integers(0, (1 << 64) - 1))
def test_each_bit_that_is_1_is_spelled_out(name: str, value: int) -> None:
    first, *rows = spell_out(name, value, TABLES[name])
    assert first == f"{name} {value:#x}"
    told = {row.split()[0] for row in rows}
    assert {flag.name for flag in TABLES[name] if value >> flag.bit & 1} <= told


@pytest.mark.needs_kvm
def test_a_vcpu_in_long_mode_says_so() -> None:
    with long_mode(b"\xf4") as guest:
        lines = control_lines(Registers(rflags=0x246), guest.vcpu.special_registers)
    text = "\n".join(lines)
    assert "  PG         bit 31  paging is on" in lines
    assert "  LMA        bit 10  long mode is active" in lines
    assert "the physical address of the first page table: 0xa000" in text
    assert "  IF         bit  9  interrupts are on" in lines
