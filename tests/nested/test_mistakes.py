"""The mistakes that newcomers make, on kvm-amd, which shows the registers of a reset after a crash.

So what a guest's own handler says counts more than on another host; tests/test_mistakes.py holds
what ringlet says there.
"""

from functools import partial

import pytest

from ringlet.machine.fault import LOST

from .. import mistake_guest
from ..mistake_guest import STATUS, Run, doing

LONG = 60.0  # seconds for a guest that ends, on a host that is emulated itself
SHORT = 4.0  # seconds in which a guest has come to its mistake

pytestmark = [pytest.mark.needs_kvm, pytest.mark.needs_gcc]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return partial(mistake_guest.run, mistake_guest.build(tmp_path_factory.mktemp("mistakes")))


# QEMU 7.2's emulator gives error codes that name a vector twice the vector, so none is held here.
@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("divides_by_zero", ["(#DE, divide error)"]),
        ("lets_an_interrupt_come_without_a_handler", ["(#GP, general protection", "no handler"]),
        ("jumps_into_zeros_and_faults", ["(#PF, page fault)", "all zeros at rip", "came from"]),
        ("calls_a_null_pointer", ["(#PF, page fault)", "jump to 0x0,", "a null pointer"]),
        ("reads_a_null_pointer", ["(#PF, page fault)", "cr2 0x0000000000000003", "a null pointer"]),
        ("writes_beyond_the_page_tables", ["(#PF, page fault)", "write to 0x4000000000, which is"]),
        ("calls_itself_for_ever", ["(#DF, double fault)", "the stack is full: it has 16384 bytes"]),
        ("has_a_large_variable", ["(#DF, double fault)", "the stack is full: it has 16384 bytes"]),
        ("makes_a_system_call", ["(#GP, general protection fault)", "no handler"]),
    ],
)
def test_a_guest_with_the_librarys_handlers_tells_the_exception(
    run: Run, mistake: str, said: list[str]
) -> None:
    result, output = run(mistake, timeout=LONG)
    assert (result.reason, result.status) == ("exit-port", STATUS)
    for part in said:
        assert part in output


@pytest.mark.parametrize(
    "mistake", ["divides_by_zero", "reads_a_null_pointer", "makes_a_system_call"]
)
def test_after_a_triple_fault_the_report_says_that_nothing_is_known_and_why(
    run: Run, mistake: str
) -> None:
    result, _ = run(mistake, bare=True, timeout=LONG)
    assert result.reason == "triple-fault"
    assert result.crash is not None
    assert result.crash.registers_are_lost
    lines = result.crash.lines()
    assert lines[-1] == LOST
    assert len(lines) <= 2  # no register is shown
    if len(lines) == 2:
        assert lines[0].startswith("the cause is probably #")


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("loops_for_ever", "this code is a loop"),
        ("jumps_into_zeros", "the guest has jumped to an address without code"),
        ("waits_on_the_wrong_line", "com1 raised interrupt line 4, which the I/O APIC and the PIC"),
    ],
)
def test_a_guest_that_hangs_is_told_as_on_any_host(run: Run, mistake: str, said: str) -> None:
    result, _ = run(mistake, timeout=SHORT)
    assert result.reason == "timeout"
    assert said in doing(result)


@pytest.mark.parametrize("mistake", ["reads_where_no_ram_is", "writes_where_no_ram_is"])
def test_an_address_with_no_ram_is_told_as_on_any_host(run: Run, mistake: str) -> None:
    result, _ = run(mistake, timeout=LONG)
    told = str(result.first_unclaimed)
    assert "0xb0000000, where no RAM and no device is, by `mov" in told
    assert f", {mistake}" in told
