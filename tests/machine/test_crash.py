"""What is told of a guest that crashed, each from a real one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ringlet.kvm.exits import Exit, InternalError, Shutdown
from ringlet.kvm.memory import GuestMemory, anonymous
from ringlet.kvm.registers import DescriptorTable, Registers, code_segment, data_segment
from ringlet.kvm.system import System
from ringlet.kvm.vcpu import Vcpu
from ringlet.kvm.vm import Vm
from ringlet.machine.assembly import MAX_INSTRUCTION
from ringlet.machine.crash import Crash, examine

pytestmark = pytest.mark.needs_kvm

MEMORY = 0x4000
PAGE_TABLES = 0x1000  # PML4, page directory pointers, page directory
CODE = 0x400
UD2 = b"\x0f\x0b"
CR0_PE, CR0_PG, CR4_PAE, EFER_LONG = 1, 1 << 31, 1 << 5, 1 << 8 | 1 << 10


@contextmanager
def guest(
    bits: int, code: bytes, at: int = CODE, base: int = 0
) -> Iterator[tuple[Vcpu, GuestMemory]]:
    """`code` at `base` + `at`, RIP there, in a mode of `bits`, with no interrupt table."""
    with (
        GuestMemory([anonymous(0, MEMORY)]) as memory,
        System() as system,
        Vm(system) as vm,
    ):
        vm.set_tss_address(0xFFFB_D000)
        vm.map_memory(memory)
        memory.write(base + at, code)
        for table, entry in enumerate((PAGE_TABLES + 0x1000 | 3, PAGE_TABLES + 0x2000 | 3, 0x83)):
            memory.write(PAGE_TABLES + 0x1000 * table, entry.to_bytes(8, "little"))
        vcpu = vm.create_vcpu()
        vcpu.cpuid = system.supported_cpuid
        limit = 0xFFFF if bits == 16 else 0xFFFF_FFFF
        data = data_segment(0x10, limit=limit, bits=bits)
        special = vcpu.special_registers._replace(
            cs=code_segment(8 if bits > 16 else base >> 4, base=base, limit=limit, bits=bits),
            ds=data._replace(base=0),
            es=data._replace(base=0),
            ss=data._replace(base=0),
            idt=DescriptorTable(0, 0),
        )
        if bits > 16:
            special = special._replace(cr0=special.cr0 | CR0_PE)
        if bits == 64:
            special = special._replace(
                cr0=special.cr0 | CR0_PG,
                cr3=PAGE_TABLES,
                cr4=special.cr4 | CR4_PAE,
                efer=EFER_LONG,
            )
        vcpu.special_registers = special
        vcpu.registers = Registers(rax=0x1234, rip=at, rsp=0x800)
        yield vcpu, memory


def crash_of(bits: int, code: bytes, at: int = CODE, base: int = 0) -> tuple[Exit, Crash]:
    with guest(bits, code, at, base) as (vcpu, memory):
        exit = vcpu.run()
        return exit, examine(vcpu, memory, exit)


@pytest.mark.parametrize("bits", [32, 64])
def test_a_triple_fault_is_at_the_instruction_that_faulted(bits: int) -> None:
    exit, crash = crash_of(bits, b"\x90" + UD2)
    assert exit == Shutdown()
    assert crash.registers.rip == crash.linear_rip == CODE + 1
    assert crash.registers.rax == 0x1234
    assert crash.code[:2] == UD2
    assert len(crash.code) == MAX_INSTRUCTION
    assert crash.instruction == "ud2"
    assert crash.kvm == ""


def test_a_segments_base_counts_where_it_counts() -> None:
    for bits, linear in ((16, 0x500), (32, 0x500), (64, 0x200)):
        with guest(bits, b"", at=0x200, base=0x300) as (vcpu, memory):
            memory.write(linear, UD2)
            crash = examine(vcpu, memory, Shutdown())
            assert (crash.linear_rip, crash.instruction) == (linear, "ud2")


def test_an_internal_error_names_kvms_word_for_it_and_the_instruction() -> None:
    # popcnt eax, [0xa0000]: no host can but emulate an access to where no memory is
    code = b"\xf3\x0f\xb8\x05\x00\x00\x0a\x00"
    exit, crash = crash_of(32, code)
    assert isinstance(exit, InternalError)
    assert crash.kvm.startswith("KVM: InternalError(suberror=1, ")
    assert crash.not_emulated
    assert crash.code.startswith(code)
    assert crash.instruction == "popcnt eax, dword ptr [0xa0000]"
    assert crash.lines()[-1] == crash.kvm


@pytest.mark.parametrize(
    ("bits", "instruction"),
    [(16, "mov ax, 0x1234"), (32, "mov eax, 0x90901234"), (64, "mov eax, 0x90901234")],
)
def test_the_instruction_is_read_in_the_guests_mode(bits: int, instruction: str) -> None:
    with guest(bits, b"\xb8\x34\x12\x90\x90") as (vcpu, memory):
        assert examine(vcpu, memory, Shutdown()).instruction == instruction


def test_a_branch_is_shown_with_its_target() -> None:
    with guest(32, b"\xeb\x10") as (vcpu, memory):
        assert examine(vcpu, memory, Shutdown()).instruction == f"jmp {CODE + 0x12:#x}"


@pytest.mark.parametrize("room", [1, 2, 14])
def test_code_is_read_up_to_the_end_of_the_memory(room: int) -> None:
    with guest(32, b"\x90" * room, at=MEMORY - room) as (vcpu, memory):
        crash = examine(vcpu, memory, Shutdown())
        assert crash.code == b"\x90" * room
        assert crash.instruction == "nop"


@pytest.mark.parametrize("rip", [MEMORY, 0x4000_0000, (1 << 64) - 1, 1 << 47])
def test_code_that_cant_be_read_is_said_so(rip: int) -> None:
    with guest(64, b"") as (vcpu, memory):
        vcpu.registers = Registers(rip=rip)
        crash = examine(vcpu, memory, Shutdown())
        assert (crash.code, crash.instruction) == (b"", "no instruction")
        assert any("not readable" in line for line in crash.lines())


def test_code_that_is_no_instruction_is_said_so() -> None:
    with guest(64, b"\x06" * MAX_INSTRUCTION) as (vcpu, memory):  # push es: not in 64-bit mode
        crash = examine(vcpu, memory, Shutdown())
        assert crash.instruction == "no instruction"
        assert crash.code == b"\x06" * MAX_INSTRUCTION


def test_for_people_every_register_is_there_a_line_each() -> None:
    _, crash = crash_of(64, UD2)
    lines = crash.lines()
    assert all("\n" not in line and len(line) <= 132 for line in lines)
    text = "\n".join(lines)
    for name, value in crash.registers._asdict().items():
        assert f"{name:<3} {value:016x}" in text
    for name in ("cr0", "cr2", "cr3", "cr4"):
        assert f"{name} {getattr(crash.special, name):016x}" in text
    assert lines[-1].startswith("at rip: 0f 0b ")
    assert lines[-1].endswith(": ud2")


def test_for_programs_the_same_as_json() -> None:
    _, crash = crash_of(64, UD2)
    report = json.loads(json.dumps(crash.as_json()))
    assert report["registers"]["rax"] == "0x1234"
    assert set(report["registers"]) == set(Registers._fields)
    assert int(report["control_registers"]["cr3"], 16) == PAGE_TABLES
    assert report["linear_rip"] == hex(CODE)
    assert bytes.fromhex(report["code"]) == crash.code
    assert report["instruction"] == "ud2"
