"""Rules, applied for real in a child process: their comparisons, names and architectures."""

import errno
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringlet.container.seccomp import libseccomp
from ringlet.container.seccomp.filter import compile
from ringlet.errors import ConfigError

from ...examples import examples
from ..filtered import (
    GETPID,
    GETPPID,
    KILLED,
    MKDIR,
    NEWER,
    UNAME,
    X32,
    Int80,
    allowing,
    argument,
    call,
    has_int_80,
    install,
    refusing,
    results,
    rule,
    run,
)

if TYPE_CHECKING:
    from ringlet.container.spec.types import Seccomp, SeccompSyscall

I386_GETPID, I386_GETPPID, I386_UNAME = 20, 64, 122

pytestmark = [pytest.mark.needs_libseccomp, pytest.mark.usefixtures("seccomp_cache")]


OPERATORS = {
    "NE": lambda argument, value, _: argument != value,
    "LT": lambda argument, value, _: argument < value,
    "LE": lambda argument, value, _: argument <= value,
    "EQ": lambda argument, value, _: argument == value,
    "GE": lambda argument, value, _: argument >= value,
    "GT": lambda argument, value, _: argument > value,
    "MASKED_EQ": lambda argument, mask, value: argument & mask == value,
}
U64 = st.one_of(
    st.integers(0, 2**64 - 1),
    st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1]),
)


@pytest.mark.parametrize("operator", OPERATORS)
@given(value=U64, bits=U64, index=st.integers(0, 5), probes=st.lists(U64, min_size=1, max_size=8))
@settings(max_examples=examples(25), deadline=None, suppress_health_check=list(HealthCheck))
def test_an_operator_compares_all_64_bits(
    operator: str, value: int, bits: int, index: int, probes: list[int]
) -> None:
    wanted = bits & value
    profile = refusing(
        rule("getppid", "ERRNO", args=[argument(operator, index, value, wanted)]),
    )
    probes += [value, (value + 1) % 2**64, (value - 1) % 2**64, wanted, wanted | ~value % 2**64]
    calls = [(GETPPID, *[0] * index, probe) for probe in probes]
    matched = [result == -errno.EPERM for result in results(compile(profile), *calls)]
    assert matched == [OPERATORS[operator](probe, value, wanted) for probe in probes]


def test_a_rule_takes_calls_for_which_all_its_arguments_match() -> None:
    both = [argument("EQ", 0, 1), argument("GT", 1, 5)]
    filter = compile(refusing(rule("getppid", "ERRNO", args=both)))
    parent = os.getpid()
    calls = [(GETPPID, 1, 6), (GETPPID, 1, 5), (GETPPID, 2, 6)]
    assert results(filter, *calls) == [-errno.EPERM, parent, parent]


def test_two_comparisons_of_one_argument_match_either_way() -> None:
    either = [argument("EQ", 0, 1), argument("EQ", 0, 3)]
    filter = compile(refusing(rule("getppid", "ERRNO", args=either)))
    calls = [(GETPPID, 1), (GETPPID, 2), (GETPPID, 3)]
    assert results(filter, *calls) == [-errno.EPERM, os.getpid(), -errno.EPERM]


# Names and architectures


def test_unknown_names_are_left_out_and_told() -> None:
    names = ["no_such_call", "mkdir\0", "", "é", "mkdir"]
    filter = compile(refusing({"names": names, "action": "SCMP_ACT_ERRNO"}))
    assert filter.unknown == names[:-1]
    assert results(filter, (MKDIR,), (GETPPID,)) == [-errno.EPERM, os.getpid()]


def test_a_rule_like_the_default_action_changes_nothing() -> None:
    filter = compile(refusing(rule("getppid", "ALLOW"), rule("mkdir", "ERRNO")))
    assert results(filter, (MKDIR,), (GETPPID,)) == [-errno.EPERM, os.getpid()]


@pytest.mark.parametrize("names", [["getppid"], [f"no_such_call_{n}" for n in range(40)]])
def test_many_rules_that_change_nothing_are_none(names: list[str]) -> None:
    filter = compile(refusing({"names": [*names * 40], "action": "SCMP_ACT_ALLOW"}))
    assert results(filter, (GETPPID,), (MKDIR, 0)) == [os.getpid(), -errno.EFAULT]


def test_calls_newer_than_the_rules_do_not_exist() -> None:
    newest = allowing("openat2")  # number 437
    assert results(compile(newest), (UNAME, 0), (438,), (NEWER,)) == [
        -errno.EPERM,
        -errno.ENOSYS,
        -errno.ENOSYS,
    ]


def test_a_default_of_kill_does_not_kill_for_a_newer_call() -> None:
    filter = compile(allowing("openat2", default="KILL_PROCESS"))
    assert results(filter, (NEWER,)) == [-errno.ENOSYS]
    assert run(lambda: f"{install(filter)}{call(UNAME, 0)}") == KILLED


def test_calls_newer_than_the_rules_go_to_a_tracer_that_is_the_default() -> None:
    lenient = compile({"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 9})
    refused = compile(allowing(defaultErrnoRet=errno.ENOSYS))
    # no instructions before libseccomp's own
    assert lenient.program == libseccomp.build({"defaultAction": "SCMP_ACT_TRACE"})[0].replace(
        struct.pack("=I", 0x7FF00001), struct.pack("=I", 0x7FF00009)
    )
    assert results(refused, (NEWER,)) == [-errno.ENOSYS]


def test_another_architecture_than_the_filters_is_killed() -> None:
    if not has_int_80():
        pytest.skip("the kernel has no 32-bit system calls")
    filter = compile(allowing())
    assert run(lambda: f"{install(filter)}{Int80()(I386_GETPID)}") == KILLED


def test_x32_is_killed_where_it_is_not_among_the_architectures() -> None:
    filter = compile(allowing())
    assert run(lambda: f"{install(filter)}{call(X32 | GETPID)}") == KILLED


def test_a_rule_holds_for_each_architecture_by_its_own_number() -> None:
    if not has_int_80():
        pytest.skip("the kernel has no 32-bit system calls")
    architectures = ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    profile = allowing("openat2", architectures=architectures)
    profile["syscalls"].append(rule("getppid", "ERRNO", errnoRet=errno.EXDEV))
    filter = compile(profile)

    def code() -> str:
        int_80 = Int80()
        install(filter)
        numbers = [int_80(number) for number in (I386_GETPID, I386_GETPPID, I386_UNAME, NEWER)]
        same = numbers[0] == os.getpid()
        return f"{same} {numbers[1:]}"

    assert run(code) == f"True {[-errno.EXDEV, -errno.EPERM, -errno.ENOSYS]}"
    calls = [(X32 | GETPPID,), (X32 | UNAME, 0), (X32 | NEWER,), (GETPPID,)]
    assert results(filter, *calls) == [-errno.EXDEV, -errno.EPERM, -errno.ENOSYS, -errno.EXDEV]


@pytest.mark.parametrize(
    ("name", "multiplexer", "kind", "other"),
    [("socket", "socketcall", 1, 2), ("semget", "ipc", 2, 3)],
)
def test_what_is_allowed_by_its_arguments_is_not_where_they_lie_in_memory(
    name: str, multiplexer: str, kind: int, other: int
) -> None:
    if not has_int_80():
        pytest.skip("the kernel has no 32-bit system calls")
    number = {"socketcall": 102, "ipc": 117}[multiplexer]

    def answers(*rules: "SeccompSyscall", default: str = "ERRNO") -> str:
        profile = allowing(*["bind", "semctl"], default=default, architectures=["SCMP_ARCH_X86"])
        profile["syscalls"] += rules
        filter = compile(profile)

        def code() -> str:
            int_80 = Int80()
            install(filter)
            return f"{int_80(number, kind)} {int_80(number, other)}"

        return run(code)

    some = rule(name, "ALLOW", args=[argument("EQ", 0, 1)])
    untouched = answers(rule(name, "ALLOW")).split()
    assert -errno.EPERM not in map(int, untouched)
    assert answers(some) == f"{-errno.ENOSYS} {untouched[1]}"
    assert answers(some, default="KILL_PROCESS") == f"{-errno.ENOSYS} {untouched[1]}"
    # who names it, or allows every argument, has it
    assert answers(some, rule(multiplexer, "ALLOW")).split() == untouched
    assert answers(some, rule(name, "ALLOW")).split() == untouched


def test_an_architecture_may_be_named_twice_and_the_native_one_is_implied() -> None:
    named = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86_64"]
    assert compile(allowing()).program == compile(allowing(architectures=named)).program


# What can't be a filter


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ({"defaultAction": "SCMP_ACT_FOO"}, "defaultAction: unknown action SCMP_ACT_FOO"),
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1},
            "defaultErrnoRet: SCMP_ACT_ALLOW returns no errno",
        ),
        (
            {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4095},
            "defaultErrnoRet: 4095 isn't from 0 to 4094",
        ),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "defaultAction: SCMP_ACT_NOTIFY is for single"),
        ({**allowing(), "architectures": ["SCMP_ARCH_FOO"]}, "knows no SCMP_ARCH_FOO"),
        ({**allowing(), "architectures": ["x86"]}, "knows no x86"),
        ({**allowing(), "architectures": ["SCMP_ARCH_S390X"]}, "refuses SCMP_ARCH_S390X"),
        ({**allowing(), "flags": ["FOO"]}, "flags: unknown flag FOO"),
        (
            refusing(rule("mkdir", "KILL", errnoRet=1)),
            "syscalls[0].errnoRet: SCMP_ACT_KILL returns no errno",
        ),
        (
            refusing(rule("mkdir", "TRACE", errnoRet=1 << 16)),
            "syscalls[0].errnoRet: 65536 isn't from 0 to 65535",
        ),
        (
            refusing(rule("mkdir", "ERRNO", args=[argument("EQ", 6, 0)])),
            "syscalls[0].args[0].index: 6 isn't from 0 to 5",
        ),
        (
            refusing(rule("mkdir", "ERRNO", args=[argument("EQ", 0, 1 << 64)])),
            "syscalls[0].args[0].value: isn't a number of 64 bits",
        ),
        (
            refusing(rule("mkdir", "ERRNO", args=[argument("XX", 0, 0)])),
            "syscalls[0].args[0].op: unknown operator SCMP_CMP_XX",
        ),
        (
            refusing(
                rule("mkdir", "ERRNO", args=[argument("EQ", 0, 0)]),
                rule("mkdir", "TRAP", args=[argument("EQ", 0, 0)]),
            ),
            "syscalls[1]: libseccomp refuses mkdir (File exists)",
        ),
        (refusing(rule("mkdir", "NOTIFY")), "listenerPath: SCMP_ACT_NOTIFY needs one"),
        (
            {**refusing(rule("write", "NOTIFY")), "listenerPath": "/x"},
            "syscalls: SCMP_ACT_NOTIFY can't be used for write",
        ),
        (
            refusing(
                *(rule("mkdir", "ERRNO", args=[argument("EQ", 0, n << 32)]) for n in range(5000))
            ),
            "syscalls: a filter of more than 4096 instructions",
        ),
    ],
)
def test_what_can_not_be_a_filter_is_told(profile: "Seccomp", message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile(profile)
    assert message in caught.value.message
    assert caught.value.message.startswith("config.json: linux.seccomp.")


def test_a_missing_libseccomp_is_told_with_the_package(tmp_path: Path) -> None:
    (tmp_path / "libseccomp.so.2").touch()  # found before the host's, and none
    script = """
from ringlet.container.seccomp.filter import compile
from ringlet.errors import RingletError
try:
    compile({"defaultAction": "SCMP_ACT_ALLOW"})
except RingletError as error:
    print(error.message, error.hint)
"""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    output = subprocess.check_output([sys.executable, "-c", script], env=environment, text=True)
    assert "libseccomp" in output
    assert "apt install libseccomp2" in output
