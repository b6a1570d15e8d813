import os
import struct

import pytest
from hypothesis import given

from ringlet.container.cgroups.bpf import load
from ringlet.container.cgroups.device_filter import compile
from ringlet.container.cgroups.devices import ALL, DEFAULT, Rule

from .test_devices import REQUESTS, allowed, rules

ACCESS = {"m": 1, "r": 2, "w": 4}


def interpret(program: bytes, kind: str, major: int, minor: int, access: str) -> int:
    """What the program returns: an interpreter of the few instructions that it may have."""
    context = struct.pack(
        "=3I", sum(ACCESS[it] for it in access) << 16 | {"b": 1, "c": 2}[kind], major, minor
    )
    registers: dict[int, int] = {1: 0}
    instructions = list(struct.iter_unpack("=BBhi", program))
    at = 0
    while True:
        code, which, offset, value = instructions[at]
        to, source = which & 15, which >> 4
        at += 1
        if code == 0x61:
            registers[to] = struct.unpack_from("=I", context, registers[source] + offset)[0]
        elif code == 0xBF:
            registers[to] = registers[source]
        elif code == 0xB7:
            registers[to] = value
        elif code == 0x57:
            registers[to] &= value
        elif code == 0x77:
            registers[to] >>= value
        elif code == 0x95:
            return registers[0]
        else:
            left = registers.get(to, 0)
            jumps = {0x05: True, 0x55: left != value, 0x45: left & value != 0}
            at += offset if jumps[code] else 0


@given(rules)
def test_the_program_allows_what_the_rules_allow(rules: list[Rule]) -> None:
    program = compile(rules)
    for kind, major, minor, access in REQUESTS:
        assert interpret(program, kind, major, minor, access) == allowed(
            rules, kind, major, minor, access
        )
    for access in ("rw", "rwm"):
        assert interpret(program, "c", 1, 2, access) == allowed(rules, "c", 1, 2, access)


@pytest.mark.needs_cgroups
@given(rules)
def test_the_kernel_takes_every_program(rules: list[Rule]) -> None:
    os.close(load(compile(rules)))


def test_no_instruction_is_out_of_reach() -> None:
    everything = (True, "a", ALL, ALL, "rwm")
    assert compile([*DEFAULT, everything]) == compile([everything])
