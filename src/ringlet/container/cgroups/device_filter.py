"""Compiles device rules to a BPF program, which replaces the `devices` controller in version 2.

The kernel calls the program at each mknod(2) and open(2) of a device; the program returns whether
the access is allowed. The program reads the rules from the last to the first, and keeps the kinds
of access that no rule has decided yet. It ends when a rule denies one of these kinds, or when all
of these kinds are allowed.

Source: the kernel's bpf/standardization/instruction-set.rst; include/uapi/linux/bpf.h, `struct
bpf_cgroup_dev_ctx`; bpf(2); admin-guide/cgroup-v2.rst, "Device controller".
"""

from __future__ import annotations

import struct

from ringlet.container.cgroups.devices import ALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringlet.container.cgroups.devices import Rule

_ACCESS = {"m": 1, "r": 2, "w": 4}
_TYPE = {"b": 1, "c": 2}
_EVERYTHING = 7

_INSTRUCTION = struct.Struct("=BBhi")  # opcode, registers (source << 4 | destination), offset, imm

# Opcodes: each has the class, the operation, and whether the operand is an immediate value.
_LOAD_WORD = 0x61  # dst = *(u32 *)(src + offset)
_MOVE_REGISTER, _MOVE, _AND, _SHIFT_RIGHT = 0xBF, 0xB7, 0x57, 0x77
_JUMP, _JUMP_IF_NOT, _JUMP_IF_ANY, _EXIT = 0x05, 0x55, 0x45, 0x95

# Registers. The program gets the context in r1, and returns the result in r0.
_RESULT, _CONTEXT, _LEFT, _KIND, _MAJOR, _MINOR = range(6)


def compile(rules: Sequence[Rule]) -> bytes:
    """Returns the instructions of the rules, for BPF_PROG_TYPE_CGROUP_DEVICE."""
    program = [
        _instruction(_LOAD_WORD, _LEFT, source=_CONTEXT, offset=0),  # access << 16 | type
        _instruction(_LOAD_WORD, _MAJOR, source=_CONTEXT, offset=4),
        _instruction(_LOAD_WORD, _MINOR, source=_CONTEXT, offset=8),
        _instruction(_MOVE_REGISTER, _KIND, source=_LEFT),
        _instruction(_AND, _KIND, value=0xFFFF),
        _instruction(_SHIFT_RIGHT, _LEFT, value=16),
    ]
    for rule in reversed(rules):
        if rule[1] == "a":  # the verifier refuses code that is never reached
            return b"".join((*program, *_return(int(rule[0]))))
        program += _judge(rule)
    program += _return(0)
    return b"".join(program)


def _judge(rule: Rule) -> list[bytes]:
    allow, kind, major, minor, letters = rule
    access = sum(_ACCESS[letter] for letter in letters)
    if allow:
        verdict = [
            _instruction(_AND, _LEFT, value=_EVERYTHING & ~access),
            _instruction(_JUMP_IF_NOT, _LEFT, offset=2, value=0),
            *_return(1),
        ]
    else:
        verdict = [
            _instruction(_JUMP_IF_ANY, _LEFT, offset=1, value=access),
            _instruction(_JUMP, 0, offset=2),
            *_return(0),
        ]
    tests = [(_KIND, _TYPE[kind])]
    tests += [(register, it) for register, it in ((_MAJOR, major), (_MINOR, minor)) if it != ALL]
    size = len(tests) + len(verdict)
    return [
        _instruction(_JUMP_IF_NOT, register, offset=size - 1 - at, value=value)
        for at, (register, value) in enumerate(tests)
    ] + verdict


def _return(value: int) -> list[bytes]:
    return [_instruction(_MOVE, _RESULT, value=value), _instruction(_EXIT, 0)]


def _instruction(
    opcode: int, destination: int, *, source: int = 0, offset: int = 0, value: int = 0
) -> bytes:
    return _INSTRUCTION.pack(opcode, source << 4 | destination, offset, value)
