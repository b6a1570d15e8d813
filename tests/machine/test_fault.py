"""What led a guest to a crash, each from a real one: the exception, its cause, and its handler."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlet.boot.symbols import Symbol, Symbols
from ringlet.kvm.exits import InternalError, Shutdown
from ringlet.kvm.memory import GuestMemory
from ringlet.kvm.registers import DescriptorTable, Registers, Segment
from ringlet.kvm.vcpu import Vcpu
from ringlet.machine.crash import Crash, examine
from ringlet.machine.culprit import find_culprit
from ringlet.machine.fault import Fault, find_fault

from ..examples import examples
from .test_crash import CODE, MEMORY, UD2, guest

pytestmark = pytest.mark.needs_kvm

IDT = 0x3800
HANDLER = 0x600
FAR = 0x4000_0000  # not mapped
SYMBOLS = Symbols([Symbol(CODE, 0x100, "main")])


def rax(value: int) -> bytes:
    """mov rax, value"""
    return b"\x48\xb8" + value.to_bytes(8, "little")


def nothing(vcpu: Vcpu, memory: GuestMemory) -> None:
    """There is no handler."""


def crash_of(
    code: bytes, *, bits: int = 64, prepare: Callable[[Vcpu, GuestMemory], None] = nothing
) -> Crash:
    with guest(bits, code) as (vcpu, memory):
        prepare(vcpu, memory)
        exit = vcpu.run()
        assert isinstance(exit, Shutdown | InternalError)
        return examine(vcpu, memory, exit, SYMBOLS)


def fault_of(code: bytes, *, bits: int = 64) -> Fault:
    fault = crash_of(code, bits=bits).fault
    assert fault is not None
    return fault


@pytest.mark.parametrize(
    ("code", "vector", "error_code", "cause"),
    [
        (UD2, 6, None, "`ud2` always raises it"),
        (b"\x06" * 15, 6, None, "the bytes at 0x400 are no instruction"),
        # xor ecx, ecx; div ecx
        (b"\x31\xc9\xf7\xf1", 0, None, "`div ecx` divides by zero: ecx is 0"),
        # xor r8d, r8d; idiv r8w; the same for a byte: xor ebx, ebx; div bh
        (b"\x45\x31\xc0\x66\x41\xf7\xf8", 0, None, "`idiv r8w` divides by zero: r8w is 0"),
        (b"\x31\xdb\xf6\xf7", 0, None, "`div bh` divides by zero: bh is 0"),
        # mov ecx, 1; mov edx, ecx; div ecx
        (b"\xb9\1\0\0\0\x89\xca\xf7\xf1", 0, None,
         "`div ecx`: the quotient is too large for its register"),
        # mov eax, -128; mov bl, -1; idiv bl
        (b"\xb8\x80\xff\xff\xff\xb3\xff\xf6\xfb", 0, None,
         "`idiv bl`: the quotient is too large for its register"),
        (rax(FAR) + b"\x88\x00", 14, 2,
         "`mov byte ptr [rax], al` writes to 0x40000000, which isn't mapped"),
        (rax(FAR) + b"\x8b\x44\x88\x10", 14, 0,
         "`mov eax, dword ptr [rax + rcx*4 + 0x10]` reads 0x40000010, which isn't mapped"),
        (rax(8) + b"\x8b\x80" + (FAR - 8).to_bytes(4, "little"), 14, 0,
         "`mov eax, dword ptr [rax + 0x3ffffff8]` reads 0x40000000, which isn't mapped"),
        (rax(1 << 63) + b"\x88\x00", 13, 0,
         "`mov byte ptr [rax], al` writes to 0x8000000000000000, which is no canonical address"),
        (rax(FAR) + b"\xff\xe0", 14, 0, "the guest jumped to 0x40000000, which isn't mapped"),
        (rax(1 << 62) + b"\x50\xc3", 13, 0, None),  # a ret to where no address can be
        # mov rsp, FAR; push rax
        (b"\x48\xbc" + FAR.to_bytes(8, "little") + b"\x50", 14, 2,
         "`push rax` writes to its stack at 0x3ffffff8, which isn't mapped"),
        (b"\x0f\x28\x00", 6, None, "`movaps xmm0, xmmword ptr [rax]` is an SSE instruction, "
         "and SSE is off (CR4.OSFXSR is 0): compile with -mgeneral-regs-only, or turn SSE on"),
    ],
)  # fmt: skip
def test_the_exception_and_its_cause(
    code: bytes, vector: int, error_code: int | None, cause: str | None
) -> None:
    fault = fault_of(code)
    assert (fault.vector, fault.error_code) == (vector, error_code)
    if cause is not None:
        assert fault.cause == cause
        assert fault.certain
    assert "has no handler for it: the IDT at 0x0 with the limit 0x0" in fault.delivery


def test_what_the_instruction_does_not_tell_is_probable() -> None:
    # mov ecx, 0x3333; wrmsr: there is no such register
    fault = fault_of(b"\xb9\x33\x33\x00\x00\x0f\x30")
    assert (fault.vector, fault.certain, fault.cause) == (13, False, "")
    assert fault.lines()[0].startswith("the cause is probably #GP, general protection fault")


def test_32_bit_code_is_looked_at_with_its_segments() -> None:
    # xor ecx, ecx; div ecx
    assert fault_of(b"\x31\xc9\xf7\xf1", bits=32).cause == "`div ecx` divides by zero: ecx is 0"


def test_a_jump_to_where_no_ram_is_is_told_with_the_caller() -> None:
    # The page tables map 2 MiB, the memory is smaller. The call is 12 bytes behind CODE.
    crash = crash_of(rax(0x10_0000) + b"\xff\xd0")
    assert crash.fault is not None
    assert not crash.not_emulated
    assert crash.fault.cause == (
        "the guest jumped to 0x100000, where no RAM is; "
        "the top of the stack is 0x40c, main+0xc: it came from there"
    )


def test_a_run_through_zeros_to_the_end_of_the_memory_is_told() -> None:
    crash = crash_of(rax(MEMORY - 0x10) + b"\xff\xe0")
    assert crash.fault is not None
    assert crash.fault.cause.startswith(
        "the guest jumped to 0x4000, where no RAM is; the memory before is all zeros"
    )


# Why no handler ran.


def gate(
    vector: int, *, handler: int = HANDLER, present: bool = True
) -> Callable[[Vcpu, GuestMemory], None]:
    """An IDT with one gate for `vector`, whose handler has a crash of its own."""

    def prepare(vcpu: Vcpu, memory: GuestMemory) -> None:
        entry = (
            handler & 0xFFFF
            | 8 << 16
            | (0x8E00 if present else 0x0E00) << 32
            | (handler >> 16 & 0xFFFF) << 48
            | (handler >> 32) << 64
        )
        memory.write(IDT + 16 * vector, entry.to_bytes(16, "little"))
        special = vcpu.special_registers
        vcpu.special_registers = special._replace(idt=DescriptorTable(IDT, 16 * vector + 15))

    return prepare


@pytest.mark.parametrize(
    ("prepare", "delivery"),
    [
        (gate(6, present=False), "entry 0x6 of the IDT isn't present"),
        (gate(6, handler=FAR), "its handler at 0x40000000 isn't mapped"),
    ],
)
def test_why_no_handler_ran(prepare: Callable[[Vcpu, GuestMemory], None], delivery: str) -> None:
    with guest(64, UD2) as (vcpu, memory):
        prepare(vcpu, memory)
        fault = find_fault(vcpu, memory, SYMBOLS)
    assert (fault.vector, fault.cause) == (6, "`ud2` always raises it")
    assert fault.delivery.endswith(delivery)


def test_an_idt_outside_of_memory_is_told() -> None:
    with guest(64, UD2) as (vcpu, memory):
        special = vcpu.special_registers
        vcpu.special_registers = special._replace(idt=DescriptorTable(FAR, 0xFFF))
        fault = find_fault(vcpu, memory, SYMBOLS)
    assert fault.delivery.endswith("the IDT at 0x40000000 isn't in mapped memory")


# Registers that say nothing.


def test_the_registers_of_a_reset_say_nothing_and_are_not_shown() -> None:
    with guest(64, UD2) as (vcpu, memory):
        vcpu.run()
        special = vcpu.special_registers
        segment = Segment(base=0xFFFF_0000, limit=0xFFFF, selector=0xF000, type=0xB, present=1, s=1)
        vcpu.special_registers = special._replace(cs=segment, cr0=0x10, efer=0, cr4=0)
        vcpu.registers = vcpu.registers._replace(rip=0xFFF0)
        crash = examine(vcpu, memory, Shutdown(), SYMBOLS)
    assert crash.registers_are_lost
    # KVM's note of the exception outlives the registers.
    assert crash.lines() == [
        "the cause is probably #UD, invalid opcode",
        "KVM has set the registers to those of a reset, as it does on AMD's processors: "
        "where the guest was is not known",
    ]


def test_the_fault_is_in_the_report_for_programs() -> None:
    report = json.loads(json.dumps(crash_of(UD2).as_json()))
    assert report["function"] == "main"
    assert report["fault"]["vector"] == 6
    assert report["fault"]["name"] == "#UD, invalid opcode"
    assert report["fault"]["certain"] is True
    assert report["registers_are_lost"] is False


@given(
    rax=st.integers(0, (1 << 64) - 1),
    rdx=st.integers(0, (1 << 64) - 1) | st.sampled_from([0, (1 << 64) - 1]),
    divisor=st.integers(1, 255) | st.integers(1, (1 << 64) - 1),
    size=st.sampled_from([1, 2, 4, 8]),
    is_signed=st.booleans(),
)
@settings(max_examples=examples(300))
def test_a_division_that_fits_is_no_culprit(
    rax: int, rdx: int, divisor: int, size: int, is_signed: bool
) -> None:
    prefix = {1: b"", 2: b"\x66", 4: b"", 8: b"\x48"}[size]
    # div or idiv of cl, cx, ecx or rcx; hlt
    code = prefix + bytes([0xF6 if size == 1 else 0xF7, 0xF9 if is_signed else 0xF1]) + b"\xf4"
    with guest(64, code) as (vcpu, memory):
        vcpu.registers = Registers(rax=rax, rdx=rdx, rcx=divisor, rip=CODE, rsp=0x800)
        culprit = find_culprit(vcpu, memory)
        faults = isinstance(vcpu.run(), Shutdown)
    assert (culprit.vector == 0) is faults


# Whatever the guest's code and registers are.

NUMBERS = st.integers(0, (1 << 64) - 1) | st.sampled_from([0, FAR, 1 << 63, MEMORY - 1, 1 << 47])


@settings(max_examples=examples(40))
@given(
    bits=st.sampled_from([16, 32, 64]),
    guesses=st.lists(
        st.tuples(
            st.binary(min_size=1, max_size=15),
            st.lists(NUMBERS, min_size=16, max_size=16),
            st.sampled_from([CODE, MEMORY - 3, FAR, (1 << 64) - 2]),
        ),
        min_size=20,
        max_size=40,
    ),
)
def test_any_state_gets_an_answer(bits: int, guesses: list[tuple[bytes, list[int], int]]) -> None:
    with guest(bits, b"") as (vcpu, memory):
        for code, values, rip in guesses:
            memory.write(CODE, code.ljust(15, b"\x90"))
            vcpu.registers = Registers(*values, rip, 0x202)
            crash = examine(vcpu, memory, Shutdown(), SYMBOLS)
            assert all(line.isprintable() for line in crash.lines())
            json.dumps(crash.as_json())
