"""Backtraces: of real guests, and of stacks that lie."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.boot.symbols import Symbol, Symbols
from ringlet.kvm.registers import Registers, code_segment
from ringlet.observe.console.backtrace import (
    ENTRY,
    GUESS,
    INTERRUPT,
    MAX_FRAMES,
    MAX_GUESSES,
    NOW,
    POINTER,
    RULE,
    Frame,
    backtrace,
    stack_words,
)
from ringlet.observe.console.lines import Lines

from ...machine_code import SPIN, exit_with, protected
from ..conversation import talk
from .test_interrupt_return import SPECIAL

# Three functions that call each other: main at 0x1000, middle at 0x1100, leaf at 0x1200. Each call
# is at the function's byte 0x10, so its return address is at byte 0x15.
CODE = bytearray(0x400)
for start, target in ((0x1000, 0x1100), (0x1100, 0x1200)):
    at = start + 0x10
    CODE[at - 0x1000] = 0xE8
    CODE[at - 0xFFF : at - 0xFFB] = (target - at - 5).to_bytes(4, "little")
SYMBOLS = Symbols(
    [Symbol(0x1000, 0x100, "main"), Symbol(0x1100, 0x100, "middle"), Symbol(0x1200, 0x100, "leaf")]
)
STACK = 0x8000
NOTHING = Lines()


def read_of(words: dict[int, int], size: int = 8):
    """Memory that has the code, and these words on a stack of 1 KiB."""
    stack = bytearray(0x400)
    for address, value in words.items():
        stack[address - STACK : address - STACK + size] = value.to_bytes(size, "little")

    def read(address: int, count: int) -> bytes:
        for start, data in ((0x1000, CODE), (STACK, stack)):
            if start <= address < start + len(data):
                return bytes(data[address - start : address - start + count])
        return b""

    return read


def hows(frames: list[Frame]) -> list[tuple[int, str]]:
    return [(frame.address, frame.how) for frame in frames]


def test_at_its_first_instruction_a_functions_return_address_is_on_top() -> None:
    read = read_of({STACK: 0x1115})
    found = backtrace(Registers(rip=0x1200, rsp=STACK), SPECIAL, read, SYMBOLS, NOTHING)
    assert hows(found) == [(0x1200, NOW), (0x1115, ENTRY)]
    assert found[1].stack == STACK + 8
    assert found[1].code == 0x1114


def test_frame_pointers_are_followed_while_they_lead_to_calls() -> None:
    read = read_of({STACK + 0x20: STACK + 0x60, STACK + 0x28: 0x1115, STACK + 0x68: 0x1015})
    registers = Registers(rip=0x1230, rsp=STACK, rbp=STACK + 0x20)
    found = backtrace(registers, SPECIAL, read, SYMBOLS, NOTHING)
    assert hows(found) == [(0x1230, NOW), (0x1115, POINTER), (0x1015, POINTER)]
    assert [frame.stack for frame in found] == [STACK, STACK + 0x30, STACK + 0x70]


def test_without_both_words_behind_calls_are_guessed_and_others_not() -> None:
    words = {STACK: 0x1234, STACK + 8: 0x1115, STACK + 16: 0x1116, STACK + 24: 0x1015}
    registers = Registers(rip=0x1230, rsp=STACK)
    found = backtrace(registers, SPECIAL, read_of(words), SYMBOLS, NOTHING)
    assert hows(found) == [(0x1230, NOW), (0x1115, GUESS), (0x1015, GUESS)]


def test_frame_rules_find_the_caller_and_its_registers() -> None:
    rules = [
        [0x1200, 0x1300, [[0x1200, 7, 8, {"16": -8}], [0x1201, 7, 16, {"16": -8, "6": -16}]]],
        [0x1100, 0x1200, [[0x1100, 6, 16, {"16": -8}]]],  # by RBP, which the callee has saved
    ]
    lines = Lines({"files": [], "lines": [], "frames": rules, "note": ""})
    words = {STACK: STACK + 0x40, STACK + 8: 0x1115, STACK + 0x48: 0x1015}
    registers = Registers(rip=0x1230, rsp=STACK, rbp=0xDEAD)
    found = backtrace(registers, SPECIAL, read_of(words), SYMBOLS, lines)
    assert hows(found) == [(0x1230, NOW), (0x1115, RULE), (0x1015, RULE)]


@pytest.mark.parametrize("error_code", [False, True])
def test_a_handler_has_an_interrupt_frame(error_code: bool) -> None:
    top = STACK + 8 * error_code
    frame = (0x1234, 0x23, 2, STACK + 0x100, 0x1B)
    words = {top + 8 * number: word for number, word in enumerate(frame)}
    registers = Registers(rip=0x1100, rsp=STACK)
    handlers = {0x1100: error_code}
    found = backtrace(registers, SPECIAL, read_of(words), SYMBOLS, NOTHING, handlers)
    assert found[:2] == [
        Frame(0x1100, STACK, NOW, 0),
        Frame(0x1234, STACK + 0x100, INTERRUPT, 3),
    ]


def test_words_of_16_and_32_bits_are_read_as_such() -> None:
    for bits in (16, 32):
        special = SPECIAL._replace(efer=0, cs=code_segment(8, bits=bits))
        read = read_of({STACK: 0x1234, STACK + bits // 8: 0x5678}, bits // 8)
        found = stack_words(Registers(rsp=STACK), special, read, 2)
        assert [(word.value, word.size) for word in found] == [
            (0x1234, bits // 8),
            (0x5678, bits // 8),
        ]


ADDRESSES = st.one_of(
    st.sampled_from([0, 0x1000, 0x1015, 0x1115, 0x1200, 0x1230, STACK, STACK + 0x20]),
    st.integers(STACK, STACK + 0x400),
    st.integers(0, (1 << 64) - 1),
)


@given(
    rip=ADDRESSES,
    rsp=ADDRESSES,
    rbp=ADDRESSES,
    words=st.lists(ADDRESSES, max_size=16),
    rules=st.lists(
        st.tuples(st.integers(-1, 20), st.integers(-64, 1 << 64), st.integers(-64, 64)), max_size=3
    ),
    bits=st.sampled_from([16, 32, 64]),
)
def test_any_stack_ends_in_a_bounded_backtrace(
    rip: int,
    rsp: int,
    rbp: int,
    words: list[int],
    rules: list[tuple[int, int, int]],
    bits: int,
) -> None:
    frames = [
        [start, start + 0x100, [[start, register, offset, {"16": place, "7": 0, "6": -8}]]]
        for start, (register, offset, place) in zip((0x1000, 0x1100, 0x1200), rules, strict=False)
    ]
    lines = Lines({"files": [], "lines": [], "frames": frames, "note": ""})
    special = SPECIAL if bits == 64 else SPECIAL._replace(efer=0, cs=code_segment(8, bits=bits))
    read = read_of({STACK + 8 * at: word for at, word in enumerate(words)})
    registers = Registers(rip=rip, rsp=rsp, rbp=rbp)
    found = backtrace(registers, special, read, SYMBOLS, lines, {0x1100: True})
    assert found[0].how == NOW
    assert len(found) <= MAX_FRAMES + MAX_GUESSES
    assert all(0 <= frame.address < 1 << 64 and frame.code >= 0 for frame in found)


@pytest.mark.needs_kvm
def test_the_whole_way_of_a_real_guest_is_found() -> None:
    with talk("rings") as say:
        say("break serial_write")
        say("continue")
        names = [line.split()[2].split("+")[0].rstrip(",") for line in say("backtrace")]
        assert names == ["serial_write", "print", "main", "start", "enter_long_mode"]
        assert sum("(frame rule)" in line for line in say("backtrace")) == 4


@pytest.mark.needs_kvm
@pytest.mark.parametrize("calls", [62, 64])
def test_a_backtrace_that_is_cut_says_so(calls: int) -> None:
    # mov esp, 0x200000; xor ebp, ebp; mov ecx, calls; call f; jmp to itself
    start = b"\xbc\0\0\x20\0\x31\xed\xb9" + calls.to_bytes(4, "little") + b"\xe8\x02\0\0\0" + SPIN
    # f: push ebp; mov ebp, esp; dec ecx; jz behind the call; call f
    recursion = b"\x55\x89\xe5\x49\x74\x05\xe8\xf5\xff\xff\xff"
    with talk(protected(start + recursion + exit_with(0))) as say:
        say("break 0x10001e")
        say("continue")
        *frames, last = say("backtrace")
        if calls == 62:
            assert last.startswith("#62  0x100011")
        else:
            assert frames[-1].startswith("#63  0x10001e")
            assert last == "the backtrace is cut here, at 64 frames: more callers may follow"
