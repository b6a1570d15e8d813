"""Makes the container's seccomp filter, a BPF program, from linux.seccomp; keeps it in a cache.

To make a filter takes 15 ms with Docker's profile; to find it in the user's cache takes less than
half a millisecond. Without a cache folder that only this user can write, no filter is kept and no
found filter is trusted; this is no error.

Source: OCI runtime specification 1.3, config-linux.md, "Seccomp"; seccomp(2).
"""

from __future__ import annotations

import os
import zlib

from ringlet.container.fast_json import dumps, loads
from ringlet.errors import ConfigError
from ringlet.host.cache import cache_folder, keep, open_entry

TYPE_CHECKING = False  # the import of the module `typing` would take longer than all of this
if TYPE_CHECKING:
    from ringlet.container.spec.types import Seccomp

_FLAGS = {
    # The helper has one thread, and with TSYNC, NEW_LISTENER would not work.
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": 1 << 1,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 1 << 2,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 1 << 5,
}
_NEW_LISTENER = 1 << 3
_WAIT_KILLABLE_RECV = 1 << 5

_ALLOWING = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG")
_SHOWN = 8  # how many names a note lists

# The BPF instructions that libseccomp uses: words, constants, and jumps forward.
_LD, _AND, _RET, _JA, _JEQ, _JGT, _JGE = 0x20, 0x54, 0x06, 0x05, 0x15, 0x25, 0x35
_X86_64 = 0xC000003E  # AUDIT_ARCH_X86_64
_ACTION = 0xFFFF0000  # SECCOMP_RET_ACTION_FULL: the lower half is the action's value
_LETS_THROUGH = (0x7FFF0000, 0x7FFC0000)  # SECCOMP_RET_ALLOW and SECCOMP_RET_LOG
_ASKS = 0x7FC00000  # SECCOMP_RET_USER_NOTIF

_MAKER = os.path.join(os.path.dirname(__file__), "libseccomp.py")
_KEEP = 64  # how many entries the cache keeps, each of about 20 KiB
_CHECKSUM = 4  # bytes
_REST_MAX = 64 << 10  # the most bytes of an entry besides its key; a program has at most 32 KiB


class Filter:
    """The arguments of seccomp(2), to be set with no_new_privs or with CAP_SYS_ADMIN.

    `program` is an array of struct sock_filter, and `flags` are flags of seccomp(2). `unknown` are
    the system calls that libseccomp doesn't know, and that have no rule. `notes` tell the author of
    the configuration which parts of it have no effect.
    """

    __slots__ = ("flags", "notes", "program", "unknown")

    def __init__(
        self, program: bytes, flags: int, unknown: list[str], notes: list[str] | None = None
    ) -> None:
        self.program = program
        self.flags = flags
        self.unknown = unknown
        self.notes = notes or []

    @property
    def notify(self) -> bool:
        """Returns whether seccomp(2) returns a listener, which is for the agent at listenerPath."""
        return bool(self.flags & _NEW_LISTENER)


# The last profile and its filter: a program that makes many containers uses one profile for all.
_last: tuple[Seccomp, Filter] | None = None


def compile(seccomp: Seccomp) -> Filter:
    """Returns the filter of the configuration's linux.seccomp, checked by `spec.check`.

    The same object gives the same filter again: a caller makes a new object for another profile.
    Raises `ConfigError` for a profile that can't be compiled, and `RingletError` if there is no
    libseccomp.
    """
    global _last
    if _last is None or _last[0] is not seccomp:
        _last = seccomp, _compile(seccomp)
    return _last[1]


def _compile(seccomp: Seccomp) -> Filter:
    flags = _flags(seccomp)
    parts = ("defaultAction", "defaultErrnoRet", "architectures", "syscalls")
    key = dumps([seccomp.get(part) for part in parts]).encode()
    folder = cache_folder("seccomp")
    # An entry contains its whole key: an entry of another key with the same checksum isn't used.
    path = None if folder is None else os.path.join(folder, f"{zlib.crc32(key):08x}")
    if path is not None and (found := _find(path, key)) is not None:
        program, unknown = found
        return Filter(program, flags, unknown, _notes(seccomp, flags, unknown))
    from ringlet.container.seccomp.libseccomp import build

    program, unknown, library = build(seccomp)
    if path is not None:
        _store(path, key, program, unknown, library)
    return Filter(program, flags, unknown, _notes(seccomp, flags, unknown))


def allows(
    program: bytes, number: int, arguments: tuple[int, ...] = (), *, or_asks: bool = False
) -> bool:
    """Returns whether the program lets a 64-bit system call through; missing arguments are 0.

    A call that a tracer or a listener answers doesn't count as let through, except with `or_asks` a
    listener's. A call for which the program runs an instruction that libseccomp doesn't use
    doesn't count, either.

    Source: Linux, Documentation/networking/filter.rst; seccomp.h (struct seccomp_data).
    """
    words = [number, _X86_64, 0, 0]  # the instruction pointer follows, which no rule can use
    for index in range(6):
        value = arguments[index] if index < len(arguments) else 0
        words += [value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF]
    accumulator = at = 0
    while at < len(program):
        code = int.from_bytes(program[at : at + 2], "little")
        constant = int.from_bytes(program[at + 4 : at + 8], "little")
        jumps = program[at + 3], program[at + 2]  # how many instructions to skip: if false, if true
        at += 8
        if code == _LD:
            accumulator = words[constant // 4]
        elif code == _AND:
            accumulator &= constant
        elif code == _JA:
            at += 8 * constant
        elif code == _JEQ:
            at += 8 * jumps[accumulator == constant]
        elif code == _JGT:
            at += 8 * jumps[accumulator > constant]
        elif code == _JGE:
            at += 8 * jumps[accumulator >= constant]
        elif code == _RET:
            action = constant & _ACTION
            return action in _LETS_THROUGH or (or_asks and action == _ASKS)
        else:
            break
    return False


def _flags(seccomp: Seccomp) -> int:
    flags = 0
    for name in seccomp.get("flags", []):
        if name not in _FLAGS:
            raise _bad(f"flags: unknown flag {name}")
        flags |= _FLAGS[name]
    if seccomp["defaultAction"] == "SCMP_ACT_NOTIFY":
        raise _bad("defaultAction: SCMP_ACT_NOTIFY is for single system calls")
    notified = [
        rule["names"] for rule in seccomp.get("syscalls", []) if rule["action"] == "SCMP_ACT_NOTIFY"
    ]
    if not notified:
        return flags & ~_WAIT_KILLABLE_RECV  # without a listener the kernel refuses this flag
    if any("write" in names for names in notified):
        # With write, the process that has the filter tells the runtime the listener's descriptor.
        raise _bad("syscalls: SCMP_ACT_NOTIFY can't be used for write")
    if not seccomp.get("listenerPath"):
        raise _bad("listenerPath: SCMP_ACT_NOTIFY needs one")
    return flags | _NEW_LISTENER


def _notes(seccomp: Seccomp, flags: int, unknown: list[str]) -> list[str]:
    notes = []
    if seccomp.get("listenerPath") and not flags & _NEW_LISTENER:  # ignored by specification
        notes.append("linux.seccomp.listenerPath: not used, for no rule has SCMP_ACT_NOTIFY")
    if unknown and seccomp["defaultAction"] in _ALLOWING:  # other defaults refuse them
        refused = {
            name
            for rule in seccomp.get("syscalls", ())
            if rule["action"] not in _ALLOWING
            for name in rule["names"]
        }
        if names := [ascii(name) for name in dict.fromkeys(unknown) if name in refused]:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            listed = ", ".join(names[:_SHOWN])
            notes.append(
                "linux.seccomp.syscalls: not refused, for libseccomp doesn't know them: "
                f"{listed}{more}"
            )
    return notes


def _bad(what: str) -> ConfigError:
    return ConfigError(f"config.json: linux.seccomp.{what}", "correct the profile")


# An entry of the cache has the key and the facts about the program, each as a line of JSON, then
# the program, and then a checksum of all this.


def _find(path: str, key: bytes) -> tuple[bytes, list[str]] | None:
    """Returns program and unknown names of an entry for `key`: ours, complete and current."""
    fd = open_entry(path)
    if fd is None:
        return None
    try:
        data = os.pread(fd, len(key) + _REST_MAX, 0)
        body = data[:-_CHECKSUM]
        if not body.startswith(key + b"\n") or data[-_CHECKSUM:] != _checksum(body):
            return None
        about, program = body[len(key) + 1 :].split(b"\n", 1)
        library, versions, unknown = loads(about.decode())
        if versions != [_version(library), _version(_MAKER)]:
            return None
        os.utime(fd)  # marked as used now: older entries are removed first
        return program, unknown
    except (OSError, TypeError, ValueError):
        return None
    finally:
        os.close(fd)


def _store(path: str, key: bytes, program: bytes, unknown: list[str], library: str) -> None:
    """Keeps an entry, if the cache folder exists and can be written."""
    try:
        about = dumps([library, [_version(library), _version(_MAKER)], unknown]).encode()
    except OSError:
        return
    body = b"\n".join((key, about, program))
    entry = body + _checksum(body)
    if len(entry) <= len(key) + _REST_MAX:
        keep(path, lambda fd: _write(fd, entry), _KEEP)


def _write(fd: int, data: bytes) -> None:
    with open(fd, "wb", closefd=False) as file:
        file.write(data)


def _version(library: str) -> list[int]:
    """Returns numbers that differ for each version of the file. Raises OSError without a file."""
    status = os.stat(library)
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _checksum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(_CHECKSUM, "little")
