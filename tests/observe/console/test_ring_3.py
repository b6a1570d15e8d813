"""Steps and breakpoints in ring 3, on a KVM that has them and on a KVM that doesn't."""

import io
import re

import pytest

from ringlet import Machine, MachineConfig
from ringlet.kvm.registers import Registers, Segment
from ringlet.observe.console.ring_3 import next_places
from ringlet.observe.debug.state import State

from ..conversation import Talk, talk
from .test_interrupt_return import SPECIAL

USER = 0x400000  # the program of `rings`


def place(lines: list[str]) -> int:
    (address,) = [int(line.split()[1], 16) for line in lines if line.startswith("=> ")]
    return address


def to_ring_3(say: Talk) -> None:
    while "ring 0 -> 64-bit mode, ring 3" not in " ".join(say("step mode")):
        pass


@pytest.mark.needs_kvm
def test_each_instruction_of_ring_3_is_a_step() -> None:
    with talk("rings") as say:
        to_ring_3(say)
        assert [place(say("step")) for _ in range(2)] == [USER + 5, USER + 7]
        lines = say("step")  # int3
        assert any(line.startswith("system_call, ") for line in lines)
        assert "mode: 64-bit mode, ring 3 -> 64-bit mode, ring 0" in lines
        assert place(say("finish")) == USER + 8
        assert [place(say("step")) for _ in range(2)] == [USER + 0xC, USER + 0x11]
        assert "entered by #PF, page fault, error code 0x5" in " ".join(say("step"))
        say("delete")
        lines = say("continue")
        assert "guest| ring 3 -> ring 0: print: alive after both" in lines
        assert lines[-1] == "the run is over: exit-port, status 0"


@pytest.mark.needs_kvm
def test_a_breakpoint_in_ring_3_is_met_and_left_again() -> None:
    with talk("rings") as say:
        to_ring_3(say)
        say("break user.S:23")
        for _ in range(2):
            lines = say("continue")
        assert lines[-1] == "the run is over: exit-port, status 0"
        assert "guest| ring 3 -> ring 0: exit" in lines
    with talk("rings") as say:
        to_ring_3(say)
        say("break user.S:23")
        lines = say("continue")
        assert "breakpoint 1" in lines
        assert "guest| ring 3 -> ring 0: general protection fault, error 0x0" in lines
        assert "user+0x1e, guests/rings/user.S:23" in lines
        assert say("memory user+0x1e 1")[0].startswith("0x40001e  68 ")  # the guest's own byte
        assert place(say("next")) == USER + 0x23


@pytest.mark.needs_kvm
def test_a_breakpoint_that_was_set_too_early_is_met_or_told_of() -> None:
    with talk("rings") as say:
        say("break user")
        lines = say("continue")
        if say.console.session.debugger.abilities.trap_ring_3:
            assert "breakpoint 1" in lines
        else:
            assert lines[-2] == "the run is over: exit-port, status 0"
            assert lines[-1].startswith("note: breakpoint 1 was not met; if it is in ring 3")


def check_of(image_words: str) -> str:
    output = io.BytesIO()
    config = MachineConfig(image="work", cmdline=image_words, serial=output, timeout=60)
    with Machine(config) as machine:
        machine.run()
    (check,) = re.findall(r"check=\S+", output.getvalue().decode())
    return check


@pytest.mark.slow
@pytest.mark.needs_kvm
def test_a_compiled_program_computes_the_same_while_it_is_stepped() -> None:
    words = "sort 30"
    with talk("work", cmdline=words) as say:
        to_ring_3(say)
        say("step 600")
        say("next 20")
        lines = say("continue")
    assert check_of(words) in " ".join(lines)
    assert lines[-1] == "the run is over: exit-port, status 0"


def after(code: str, memory: dict[int, int] | None = None, **registers: int) -> set[int]:
    """Where the instruction `code` at 0x1000 may go."""
    words = memory or {}
    special = SPECIAL._replace(fs=Segment(base=0x9000))
    state = State(0, Registers(rip=0x1000, **registers), special)

    def read(address: int, size: int) -> bytes:
        return words.get(address, 0).to_bytes(8, "little")[:size]

    return next_places(state, bytes.fromhex(code), read)


# Opcodes of the Intel SDM, volume 2.
@pytest.mark.parametrize(
    ("code", "places"),
    [
        ("90", {0x1001}),  # nop
        ("eb 10", {0x1012}),  # jmp
        ("74 10", {0x1002, 0x1012}),  # je
        ("e2 fe", {0x1000, 0x1002}),  # loop
        ("e3 10", {0x1002, 0x1012}),  # jrcxz
        ("0f 85 00 01 00 00", {0x1006, 0x1106}),  # jne
        ("e8 00 01 00 00", {0x1105}),  # call
        ("f3 a4", {0x1002}),  # rep movsb
        ("cc", set()),
        ("cd 80", set()),
        ("06", set()),  # no instruction of 64-bit mode
    ],
)
def test_the_next_place_is_known(code: str, places: set[int]) -> None:
    assert after(code) == places


def test_the_next_place_is_read_from_registers_and_memory() -> None:
    assert after("ff e0", rax=0x4321) == {0x4321}  # jmp rax
    assert after("41 ff d7", r15=0x4321) == {0x4321}  # call r15
    assert after("c3", {0x8000: 0x4321}, rsp=0x8000) == {0x4321}  # ret
    assert after("c2 08 00", {0x8000: 0x4321}, rsp=0x8000) == {0x4321}  # ret 8
    assert after("ff 24 c5 00 20 00 00", {0x2018: 0x4321}, rax=3) == {0x4321}  # jmp [rax*8+0x2000]
    assert after("ff 53 08", {0x2008: 0x4321}, rbx=0x2000) == {0x4321}  # call [rbx+8]
    assert after("ff 25 10 00 00 00", {0x1016: 0x4321}) == {0x4321}  # jmp [rip+0x10]
    assert after("64 ff 20", {0x9010: 0x4321}, rax=0x10) == {0x4321}  # jmp fs:[rax]
