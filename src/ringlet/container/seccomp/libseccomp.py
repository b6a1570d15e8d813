"""Makes a BPF program from linux.seccomp, with libseccomp; imported if the cache has no program.

libseccomp knows the number of every system call on every architecture, and makes programs that
find a number fast. It is called through ctypes, which every Python has, and which is imported in
1 ms.

Source: OCI runtime specification 1.3, config-linux.md, "Seccomp"; libseccomp 2.5, seccomp.h and
seccomp_rule_add(3); Linux, include/uapi/linux/filter.h (struct sock_filter), seccomp.h
(struct seccomp_data) and audit.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from ringlet.errors import ConfigError, RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.container.spec.types import Seccomp, SeccompArg, SeccompSyscall

_NAME = "libseccomp.so.2"
_UNKNOWN = -1  # __NR_SCMP_ERROR; calls of other architectures have lower numbers
_CTL_OPTIMIZE = 8  # SCMP_FLTATR_CTL_OPTIMIZE
_BINARY_TREE = 2
_FEW_RULES = 32  # libseccomp 2.5.4 makes a wrong tree of no rules, and few rules need no tree
_INSTRUCTIONS_MAX = 4096  # BPF_MAXINSNS
_RETURNS_MAX = {"SCMP_ACT_ERRNO": 4094, "SCMP_ACT_TRACE": 0xFFFF}  # as libseccomp takes them
_ARGUMENTS = 6

_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
# With these actions, a system call that is newer than the rules reaches the kernel or a tracer.
_LENIENT = {"SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"}

_X86, _X86_64, _X32 = 0x40000003, 0xC000003E, 0x4000003E  # SCMP_ARCH_*
_X32_BIT = 0x40000000  # an x32 call is to the kernel an x86-64 call with this bit
_LD, _JEQ, _JGT, _JGE, _RET = 0x20, 0x15, 0x25, 0x35, 0x06  # BPF codes, for words and constants
_NR, _ARCH, _FIRST = 0, 4, 16  # offsets in struct seccomp_data; of the first argument's lower half
# System calls of 32-bit x86 that each do the work of many calls: the name, the number, and the
# base of the numbers that libseccomp uses for the single calls: -(base + first argument).
_MULTIPLEXERS = (("socketcall", 102, 100), ("ipc", 117, 200))
_MOST_KINDS = 99


class _Argument(ctypes.Structure):
    """struct scmp_arg_cmp: the argument's index, the operator, and the values to compare with."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


def build(seccomp: Seccomp) -> tuple[bytes, list[str], str]:
    """Returns the program, the names that libseccomp doesn't know, and the library's path.

    The program is an array of struct sock_filter. Rules for unknown names are left out: profiles
    name system calls of newer kernels. Raises `ConfigError` for a profile that can't be compiled,
    and `RingletError` if there is no libseccomp.
    """
    library = load()
    default = _action(
        "defaultAction", seccomp["defaultAction"], "defaultErrnoRet", seccomp.get("defaultErrnoRet")
    )
    syscalls = seccomp.get("syscalls", [])
    unknown: list[str] = []
    context = library.seccomp_init(default)
    if context is None:
        raise _bad("defaultAction", "libseccomp refuses it")
    try:
        architectures = {_X86_64}  # a new context has the native architecture
        for name in seccomp.get("architectures", []):
            architectures.add(_add_architecture(library, context, name))
        for index, rule in enumerate(syscalls):
            unknown += _add_rule(library, context, default, f"syscalls[{index}]", rule)
        others = [rule for rule in syscalls if rule["action"] != seccomp["defaultAction"]]
        if len(_names(others) - set(unknown)) > _FEW_RULES:
            library.seccomp_attr_set(context, _CTL_OPTIMIZE, _BINARY_TREE)
        program = _export(library, context)
    finally:
        library.seccomp_release(context)
    if seccomp["defaultAction"] not in _LENIENT:
        if _X86 in architectures:
            program = _no_arguments_seen(library, syscalls) + program
        if default != _errno(errno.ENOSYS):
            names = _names(syscalls) - set(unknown)
            program = _no_such_call(library, names, architectures) + program
    if len(program) > _INSTRUCTIONS_MAX * 8:
        raise _bad("syscalls", f"a filter of more than {_INSTRUCTIONS_MAX} instructions")
    return program, unknown, _path()


def version() -> str:
    """Returns the library's version, such as 2.5.4. Raises `RingletError` without a libseccomp."""
    library = load()
    library.seccomp_version.restype = ctypes.POINTER(ctypes.c_uint * 3)  # major, minor, micro
    return ".".join(map(str, library.seccomp_version().contents))


def _names(rules: list[SeccompSyscall]) -> set[str]:
    return {name for rule in rules for name in rule["names"]}


def load() -> ctypes.CDLL:
    """Returns the library, with its functions declared. Raises `RingletError` if there is none."""
    try:
        library = ctypes.CDLL(_NAME)
    except OSError as error:
        raise RingletError(
            f"libseccomp, which makes the container's seccomp filter, can't be loaded: {error}",
            "install it (Debian: apt install libseccomp2), or drop linux.seccomp from config.json",
        ) from error
    context, number = ctypes.c_void_p, ctypes.c_uint32
    library.seccomp_init.restype = context
    library.seccomp_init.argtypes = (number,)
    library.seccomp_release.restype = None
    library.seccomp_release.argtypes = (context,)
    library.seccomp_attr_set.argtypes = (context, ctypes.c_int, number)
    library.seccomp_arch_resolve_name.restype = number
    library.seccomp_arch_resolve_name.argtypes = (ctypes.c_char_p,)
    library.seccomp_arch_add.argtypes = (context, number)
    library.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
    library.seccomp_syscall_resolve_name_arch.argtypes = (number, ctypes.c_char_p)
    library.seccomp_rule_add_array.argtypes = (
        context,
        number,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Argument),
    )
    library.seccomp_export_bpf.argtypes = (context, ctypes.c_int)
    return library


def _path() -> str:
    """Returns the path of the library that was loaded; "" if it isn't known."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            path = line.split(maxsplit=5)[-1].rstrip("\n")
            if os.path.basename(path).startswith("libseccomp.so."):
                return path
    return ""


def _bad(where: str, what: str) -> ConfigError:
    return ConfigError(f"config.json: linux.seccomp.{where}: {what}", "correct the profile")


def _errno(value: int) -> int:
    return _ACTIONS["SCMP_ACT_ERRNO"] | value


def _action(where: str, name: str, where_value: str, value: int | None) -> int:
    """Returns the action's number, which includes the value that the action returns."""
    if name not in _ACTIONS:
        raise _bad(where, f"unknown action {name}")
    highest = _RETURNS_MAX.get(name)
    if highest is None:
        if value is not None:
            raise _bad(where_value, f"{name} returns no errno")
        return _ACTIONS[name]
    if value is None:
        value = errno.EPERM
    if not 0 <= value <= highest:
        raise _bad(where_value, f"{value} isn't from 0 to {highest}")
    return _ACTIONS[name] | value


def _add_architecture(library: ctypes.CDLL, context: int, name: str) -> int:
    prefix, _, short = name.partition("SCMP_ARCH_")
    token = library.seccomp_arch_resolve_name(short.lower().encode()) if not prefix else 0
    if token == 0:
        raise _bad("architectures", f"libseccomp knows no {name}")
    status = library.seccomp_arch_add(context, token)
    if status not in (0, -errno.EEXIST):
        raise _bad("architectures", f"libseccomp refuses {name} ({os.strerror(-status)})")
    return int(token)


def _add_rule(
    library: ctypes.CDLL, context: int, default: int, where: str, rule: SeccompSyscall
) -> list[str]:
    """Adds a rule for each of its names that is known; returns the unknown names."""
    action = _action(f"{where}.action", rule["action"], f"{where}.errnoRet", rule.get("errnoRet"))
    arguments = [
        _argument(f"{where}.args[{index}]", argument)
        for index, argument in enumerate(rule.get("args", []))
    ]
    # All comparisons have to hold. But libseccomp takes only one comparison for each argument of a
    # call. In profiles with several for one argument, any may hold: runc has always read them so.
    groups = [arguments]
    if len({argument.arg for argument in arguments}) < len(arguments):
        groups = [[argument] for argument in arguments]
    unknown = []
    for name in rule["names"]:
        # In C, a name would end at a NUL byte.
        known = name.isascii() and name.isidentifier()
        number = library.seccomp_syscall_resolve_name(name.encode()) if known else _UNKNOWN
        if number == _UNKNOWN:
            unknown.append(name)
        elif action != default:  # libseccomp refuses a rule with the default action
            for group in groups:
                array = (_Argument * len(group))(*group)
                status = library.seccomp_rule_add_array(context, action, number, len(group), array)
                if status != 0:
                    raise _bad(where, f"libseccomp refuses {name} ({os.strerror(-status)})")
    return unknown


def _argument(where: str, argument: SeccompArg) -> _Argument:
    operator = _OPERATORS.get(argument["op"])
    if operator is None:
        raise _bad(f"{where}.op", f"unknown operator {argument['op']}")
    index, values = argument["index"], (argument["value"], argument.get("valueTwo", 0))
    if not 0 <= index < _ARGUMENTS:
        raise _bad(f"{where}.index", f"{index} isn't from 0 to {_ARGUMENTS - 1}")
    if not all(0 <= value < 1 << 64 for value in values):
        raise _bad(f"{where}.value", "isn't a number of 64 bits")
    return _Argument(index, operator, *values)


def _export(library: ctypes.CDLL, context: int) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        status = library.seccomp_export_bpf(context, fd)
        if status != 0:
            raise _bad("syscalls", f"libseccomp makes no filter of it ({os.strerror(-status)})")
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def _no_such_call(library: ctypes.CDLL, names: set[str], architectures: set[int]) -> bytes:
    """Returns instructions, to run first, that answer calls newer than the rules with ENOSYS.

    A C library tries a new system call first, and after ENOSYS the old one. After EPERM or a kill,
    the library would not try the old one. A newer call has a number above all numbers of the calls
    that the rules name. runc has introduced this rule, and images rely on it. Calls of an
    architecture that the filter doesn't have are left to the filter.
    """

    def last(architecture: int) -> int:
        if architecture not in architectures:
            return 0xFFFFFFFF
        resolve = library.seccomp_syscall_resolve_name_arch
        number = max((resolve(architecture, name.encode()) for name in names), default=-1)
        return number if number >= 0 else 0xFFFFFFFF

    instructions = [
        (_LD, 0, 0, _ARCH),
        (_JEQ, 0, 2, _X86),
        (_LD, 0, 0, _NR),
        (_JGT, 5, 6, last(_X86)),
        (_JEQ, 0, 5, _X86_64),
        (_LD, 0, 0, _NR),
        (_JGE, 1, 0, _X32_BIT),
        (_JGT, 1, 2, last(_X86_64)),
        (_JGT, 0, 1, last(_X32)),
        (_RET, 0, 0, _errno(errno.ENOSYS)),
    ]
    return _packed(instructions)


def _no_arguments_seen(library: ctypes.CDLL, rules: list[SeccompSyscall]) -> bytes:
    """Returns instructions, to run first, that answer socketcall and ipc with ENOSYS for some work.

    This is the work of calls that the profile allows only for certain arguments. 32-bit x86's
    socketcall and ipc have the arguments of this work in memory, where a filter can't read them:
    libseccomp lets socketcall and ipc through for every argument. The work's own system call
    remains. musl uses this call; glibc's socket() doesn't. If a profile allows socketcall or ipc by
    its name, that call stays allowed as it is.
    """
    allowed = [rule for rule in rules if rule["action"] in _LENIENT]
    by_arguments = _names(allowed) - _names([rule for rule in allowed if not rule.get("args")])
    resolve = library.seccomp_syscall_resolve_name_arch
    numbers = [-resolve(_X86, name.encode()) for name in by_arguments if name.isascii()]
    program = b""
    for name, number, base in _MULTIPLEXERS:
        kinds = [one - base for one in numbers if base < one <= base + _MOST_KINDS]
        if not kinds or name in _names(allowed):
            continue
        count = len(kinds)
        instructions = [
            (_LD, 0, 0, _ARCH),
            (_JEQ, 0, count + 4, _X86),
            (_LD, 0, 0, _NR),
            (_JEQ, 0, count + 2, number),
            (_LD, 0, 0, _FIRST),
        ]
        instructions += [(_JEQ, count - 1 - at, 0, kind) for at, kind in enumerate(kinds[:-1])]
        instructions += [(_JEQ, 0, 1, kinds[-1]), (_RET, 0, 0, _errno(errno.ENOSYS))]
        program += _packed(instructions)
    return program


def _packed(instructions: list[tuple[int, int, int, int]]) -> bytes:
    """Packs instructions: a code, how many to skip if true and if false, and a constant."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
