"""The mistakes that newcomers make, on this host's KVM: what ringlet says names the cause.

tests/nested/test_mistakes.py holds the same for a KVM on hardware of AMD's.
"""

import re
from functools import partial
from pathlib import Path

import pytest

from ringlet.kvm.system import System
from ringlet.machine.probe import unsupported_instruction

from . import mistake_guest
from .mistake_guest import STATUS, Run, cause, doing
from .observe.conversation import talk

HANGS = 1.0  # seconds in which a guest has come to its mistake

pytestmark = [pytest.mark.needs_kvm, pytest.mark.needs_gcc]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mistake_guest.build(tmp_path_factory.mktemp("mistakes"))


@pytest.fixture
def run(image: Path) -> Run:
    return partial(mistake_guest.run, image)


def test_an_endless_loop(run: Run) -> None:
    result, _ = run("loops_for_ever", timeout=HANGS)
    assert result.reason == "timeout"
    assert re.search(
        r"vCPU 0: running, interrupts off, long mode, 64-bit code, ring 0\n"
        r"  at 0x\w+, loops_for_ever.*: .*\n"
        r"  this code is a loop, from 0x\w+ to 0x\w+\n",
        doing(result),
    )


def test_the_wrong_interrupt_line(run: Run) -> None:
    result, _ = run("waits_on_the_wrong_line", timeout=HANGS)
    assert result.reason == "timeout"
    said = doing(result)
    assert "vCPU 0: halted, interrupts on" in said
    assert ", waits_on_the_wrong_line+" in said
    assert "com1 raised interrupt line 4, which the I/O APIC and the PIC mask" in said
    assert "leads interrupt line 3 to vector 0x21, but no device has this line" in said


def test_a_vector_without_a_handler(run: Run) -> None:
    result, said = run("lets_an_interrupt_come_without_a_handler")
    assert (result.reason, result.status) == ("exit-port", STATUS)
    assert "(#GP, general protection fault), error code 0x10" in said
    assert "vector 0x21 has no handler" in said


def test_a_vector_without_a_handler_in_a_bare_guest(run: Run) -> None:
    result, _ = run("lets_an_interrupt_come_without_a_handler", bare=True)
    assert result.reason == "triple-fault"
    assert cause(result).startswith(
        "lets_an_interrupt_come_without_a_handler\nthe cause is interrupt 0x21\n"
        "the guest has no handler for it: the IDT at "
    )


def test_a_jump_into_zeros(run: Run) -> None:
    result, _ = run("jumps_into_zeros", timeout=HANGS)
    assert result.reason == "timeout"
    said = doing(result)
    assert "add byte ptr [rax], al" in said
    assert "the memory here is all zeros: the guest has jumped to an address without code" in said
    assert re.search(r"top of the stack is 0x\w+, jumps_into_zeros\+0x\w+: it came from", said)


def test_a_jump_into_zeros_that_faults(run: Run) -> None:
    result, said = run("jumps_into_zeros_and_faults")
    assert result.status == STATUS
    assert "all zeros at rip: this is no code" in said
    assert "rip 0x0000000000300000" in said
    result, _ = run("jumps_into_zeros_and_faults", bare=True)
    told = cause(result)
    assert "the guest has jumped to an address without code" in told
    assert re.search(r"top of the stack is 0x\w+, jumps_into_zeros_and_faults\+", told)


def test_a_null_pointer(run: Run) -> None:
    result, said = run("reads_a_null_pointer")
    assert result.status == STATUS
    assert "(#PF, page fault), error code 0x0," in said
    assert "cr2 0x0000000000000003" in said
    assert "read of 0x3, which is not mapped\n  a null pointer\n" in said


def test_a_null_pointer_in_a_bare_guest(run: Run) -> None:
    result, _ = run("reads_a_null_pointer", bare=True)
    assert cause(result).startswith(
        "reads_a_null_pointer\n"
        "the cause is #PF, page fault, error code 0x0: "
        "a read of a page that isn't present, in ring 0, 1 or 2\n"
    )
    assert "reads 0x3, which isn't mapped: a null pointer\n" in cause(result)


def test_a_null_pointer_to_a_function(run: Run) -> None:
    result, said = run("calls_a_null_pointer")
    assert result.status == STATUS
    assert "jump to 0x0, which is not mapped\n  a null pointer\n  top of the stack: 0x10" in said
    result, _ = run("calls_a_null_pointer", bare=True)
    assert re.match(
        r"\nthe cause is #PF, page fault, error code 0x0\n"
        r"the guest jumped to 0x0, which isn't mapped: a null pointer\n"
        r"the top of the stack is 0x\w+, calls_a_null_pointer\+0x\w+: it came from there\n",
        cause(result),
    )


@pytest.mark.parametrize(
    ("mistake", "access"),
    [
        (
            "reads_where_no_ram_is",
            r"a read of 1 byte from address 0xb0000000, .*, by `mov.*`",
        ),
        (
            "writes_where_no_ram_is",
            r"a write of 4 bytes \(0x1234\) to address 0xb0000000, .*, by `mov .*, 0x1234`",
        ),
    ],
)
def test_an_address_with_no_ram(run: Run, mistake: str, access: str) -> None:
    result, said = run(mistake)
    assert (result.reason, said) == ("exit-port", "")
    assert re.fullmatch(rf"{access} at 0x\w+, {mistake}.*", str(result.first_unclaimed))
    assert "where no RAM and no device is" in str(result.first_unclaimed)


def test_an_address_beyond_the_page_tables(run: Run) -> None:
    result, said = run("writes_beyond_the_page_tables")
    assert result.status == STATUS
    assert "(#PF, page fault), error code 0x2," in said
    assert "write to 0x4000000000, which is not mapped" in said
    result, _ = run("writes_beyond_the_page_tables", bare=True)
    assert "writes to 0x4000000000, which isn't mapped\n" in cause(result)


def test_a_division_by_zero(run: Run) -> None:
    result, said = run("divides_by_zero")
    assert (result.reason, result.status) == ("exit-port", STATUS)
    assert "Exception 0 (#DE, divide error)" in said
    assert re.search(r"rip 0x00000000001\w{5}  cr2 ", said)


def test_a_division_by_zero_in_a_bare_guest(run: Run) -> None:
    result, _ = run("divides_by_zero", bare=True)
    assert result.reason == "triple-fault"
    assert re.match(
        r"divides_by_zero\n"
        r"the cause is #DE, divide error\n"
        r"`i?div \w+` divides by zero: \w+ is 0\n"
        r"the guest has no handler for it: .* has no entry 0x0$",
        cause(result),
    )


def test_int_0x80(run: Run) -> None:
    result, said = run("makes_a_system_call")
    with System() as system:
        emulated = unsupported_instruction(system) is not None
    if emulated:  # its KVM doesn't know `int`
        assert result.reason == "internal-error"
        assert result.crash is not None
        assert (result.crash.instruction, result.crash.not_emulated) == ("int 0x80", True)
        assert re.fullmatch(
            r"makes_a_system_call\nthe guest has no handler for it: .* has no entry 0x80",
            cause(result),
        )
    else:
        assert result.status == STATUS
        assert "vector 0x80 has no handler" in said


def test_a_lost_stack(run: Run) -> None:
    result, said = run("loses_its_stack")
    assert result.status == STATUS  # the double fault has a stack of its own
    assert "Exception 8 (#DF, double fault)" in said
    assert "cr2 0x0000003ffffffff8  rsp 0x0000004000000000" in said
    assert "an exception came before, and its handler can't be called" in said
    result, _ = run("loses_all_its_stacks")  # so no handler that the guest has can be called
    assert result.reason == "triple-fault"
    assert "writes to its stack at 0x3ffffffff8, which isn't mapped\n" in cause(result)
    assert "can't be called: the stack, which ends at 0x4000000000, isn't mapped" in cause(result)


@pytest.mark.parametrize("mistake", ["calls_itself_for_ever", "has_a_large_variable"])
def test_a_full_stack(run: Run, mistake: str) -> None:
    result, said = run(mistake)
    assert (result.reason, result.status) == ("exit-port", STATUS)
    told = re.search(
        r"Exception 8 \(#DF, double fault\), .*\n"
        r"  rip 0x\w+  cr2 0x(\w+)  rsp 0x\w+  ring 0\n"
        r"  the stack is full: it has 16384 bytes, from 0x(\w+) to 0x(\w+)\n"
        r"  a function that calls itself for ever, or a large local variable\?\n",
        said,
    )
    assert told is not None, said
    fault, bottom, top = (int(word, 16) for word in told.groups())
    assert top - bottom == 16384
    assert bottom - 4096 <= fault < bottom


def test_a_privileged_instruction_in_ring_3(run: Run) -> None:
    result, said = run("does_in_ring_3_what_is_for_ring_0")
    assert result.status == STATUS
    assert "Exception 13 (#GP, general protection fault), error code 0x0," in said
    assert "  ring 3\n" in said
    result, _ = run("does_in_ring_3_what_is_for_ring_0", bare=True)
    assert result.reason == "triple-fault"
    assert "#GP, general protection fault" in cause(result)
    assert "`cli` is for ring 0 alone" in cause(result)


@pytest.mark.parametrize("mistake", ["divides_by_zero", "reads_a_null_pointer"])
def test_the_backtrace_of_an_exception_names_the_function_that_raised_it(
    image: Path, mistake: str
) -> None:
    with talk(str(image), cmdline=f"mistake={mistake}") as say:
        say("break unhandled_exception")
        say("continue")
        frames = [re.sub(r"^#\d+  0x\w+ ", "", line) for line in say("backtrace")]
    functions = [re.split(r"\W", frame)[0] for frame in frames]
    assert functions[:3] == ["unhandled_exception", "exception", mistake]
    assert "start" in functions  # main may have jumped to the mistake, as its last call
    assert "mistakes.c:" in frames[2]
    assert frames[2].endswith("(interrupt)")
