"""What is said of a filter's program, against what the kernel does with it in a child process."""

import errno
import os
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringlet.container.seccomp.filter import Filter, allows, compile
from ringlet.container.seccomp.profile import DEFAULT, for_capabilities

from ...examples import examples
from ..filtered import GETPPID, MKDIR, X32, allowing, argument, refusing, results, rule

LD, AND, JA, JEQ, JGT, JGE, RET = 0x20, 0x54, 0x05, 0x15, 0x25, 0x35, 0x06
ALLOW, LOG, ERRNO, TRACE, NOTIFY = 0x7FFF0000, 0x7FFC0000, 0x00050000, 0x7FF00000, 0x7FC00000
SIZE = 64  # of struct seccomp_data

WORD = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 0x7FFFFFFF, 2**31, 2**32 - 1]))
LONG = st.builds(lambda high, low: high << 32 | low, WORD, WORD)
ENDS = st.builds(
    lambda action, value: action | value,
    st.sampled_from([ALLOW, LOG, ERRNO, TRACE, NOTIFY]),
    st.integers(1, 4000),
)


@st.composite
def programs(draw: st.DrawFn, constants: list[int]) -> bytes:
    """Instructions for getppid, of those that the arguments' words decide; others are allowed."""
    words = st.one_of(WORD, st.sampled_from(constants))
    count = draw(st.integers(1, 24))
    instructions = [(LD, 0, 0, 0), (JEQ, 1, 0, GETPPID), (RET, 0, 0, ALLOW)]
    for left in range(count, 0, -1):  # instructions that follow this one
        code = draw(st.sampled_from([LD, LD, AND, JA, JEQ, JGT, JGE, JEQ, JGT, JGE, RET]))
        skip = st.integers(0, left - 1)
        if code == LD:  # not the instruction pointer
            offset = draw(st.sampled_from([0, 4, *range(16, SIZE, 4)]))
            instructions.append((LD, 0, 0, offset))
        elif code == JA:
            instructions.append((JA, 0, 0, draw(skip)))
        elif code == RET:
            instructions.append((RET, 0, 0, draw(ENDS)))
        else:
            jumps = (0, 0) if code == AND else (draw(skip), draw(skip))
            instructions.append((code, *jumps, draw(words)))
    instructions.append((RET, 0, 0, draw(ENDS)))
    return b"".join(struct.pack("=HBBI", *one) for one in instructions)


def kernel_allows(program: bytes, *calls: tuple[int, ...]) -> list[bool]:
    """Of calls of getppid."""
    return [result == os.getpid() for result in results(Filter(program, 0, []), *calls)]


@given(
    data=st.data(),
    probes=st.lists(st.tuples(*[LONG] * 6), min_size=1, max_size=6),
)
@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
def test_it_is_what_the_kernel_does_with_any_program(
    data: st.DataObject, probes: list[tuple[int, ...]]
) -> None:
    constants = [half for probe in probes for one in probe for half in (one >> 32, one % 2**32)]
    program = data.draw(programs(constants))
    expected = kernel_allows(program, *((GETPPID, *probe) for probe in probes))
    assert [allows(program, GETPPID, probe) for probe in probes] == expected


@pytest.mark.needs_libseccomp
@pytest.mark.usefixtures("seccomp_cache")
@given(
    operators=st.lists(
        st.tuples(
            st.sampled_from(["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]),
            st.integers(0, 5),
            LONG,
            LONG,
        ),
        min_size=1,
        max_size=4,
    ),
    probes=st.lists(st.tuples(*[LONG] * 6), min_size=1, max_size=6),
)
@settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))
def test_it_is_what_the_kernel_does_with_libseccomps(
    operators: list[tuple[str, int, int, int]], probes: list[tuple[int, ...]]
) -> None:
    rules = [rule("getppid", "ERRNO", args=[argument(*one)]) for one in operators]
    program = compile(refusing(*rules)).program
    # also at, and beside, what is compared with
    for _, index, value, _ in operators:
        for near in (value - 1, value, value + 1):
            probes.append(tuple(near % 2**64 if at == index else 0 for at in range(6)))
    expected = kernel_allows(program, *((GETPPID, *probe) for probe in probes))
    assert [allows(program, GETPPID, probe) for probe in probes] == expected


@pytest.mark.needs_libseccomp
@pytest.mark.usefixtures("seccomp_cache")
@pytest.mark.parametrize("capabilities", [(), ("CAP_SYS_ADMIN",)])
def test_it_is_what_the_kernel_does_with_the_default_profile(capabilities: tuple[str]) -> None:
    filter = compile(for_capabilities(capabilities))
    bad = 2**64 - 1  # a pointer or descriptor that is none
    harmless = ["getppid", "mkdir", "mount", "openat", "unshare", "open_by_handle_at", "bpf"]
    numbers = dict(zip(harmless, [110, 83, 165, 257, 272, 304, 321], strict=True))
    calls = [(number, bad, bad, bad) for number in numbers.values()]
    calls += [(100_000,), (X32 | 100_000,), (435, bad, 88)]
    answers = results(filter, *calls)
    # who may not, gets one of these; with bad pointers the kernel itself answers otherwise
    refused = [answer in (-errno.EPERM, -errno.ENOSYS) for answer in answers]
    assert [not allows(filter.program, one[0], one[1:]) for one in calls] == refused


@pytest.mark.needs_libseccomp
@pytest.mark.usefixtures("seccomp_cache")
def test_an_action_that_asks_somebody_else_allows_nothing() -> None:
    def said(action: str) -> bool:
        profile = refusing(rule("mkdir", action))
        profile["listenerPath"] = "/run/agent.sock"
        return allows(compile(profile).program, MKDIR)

    actions = ["KILL", "KILL_PROCESS", "TRAP", "ERRNO", "TRACE", "NOTIFY", "ALLOW", "LOG"]
    assert [said(action) for action in actions] == [False] * 6 + [True] * 2


@pytest.mark.needs_libseccomp
@pytest.mark.usefixtures("seccomp_cache")
def test_a_default_decides_what_no_rule_names() -> None:
    assert not allows(compile(allowing()).program, MKDIR)
    assert allows(compile(allowing("mkdir")).program, MKDIR)
    assert allows(compile({"defaultAction": "SCMP_ACT_ALLOW"}).program, MKDIR)
    assert allows(compile(DEFAULT).program, MKDIR)


def test_an_instruction_that_is_not_libseccomps_lets_nothing_through() -> None:
    txa, ret = struct.pack("=HBBI", 0x87, 0, 0, 0), struct.pack("=HBBI", RET, 0, 0, ALLOW)
    assert allows(ret, GETPPID)
    assert not allows(txa + ret, GETPPID)
    assert not allows(b"", GETPPID)
