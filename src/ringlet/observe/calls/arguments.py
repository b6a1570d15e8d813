"""Spells the arguments and results of system calls.

What a process puts into its memory is hostile: each read has a bound, each address may be wrong,
and all text is escaped. A process with several threads can change its memory at any time: what is
shown is what was there when the trace looked, and the kernel may have seen something else.

Source: the manual page of each call; Linux, include/uapi/linux/sched.h (struct clone_args) and
socket.h.
"""

from __future__ import annotations

import socket
import struct
from functools import cache

from ringlet.observe.calls.call_words import signal_name, spell
from ringlet.observe.calls.signatures import SIGNATURES
from ringlet.observe.calls.tracees import I386

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NamedTuple

    from ringlet.observe.calls.tracees import Call

    # Of a call: the argument, what stands after the colon, and the result once there is one.
    Decoder = Callable[[Call, int, str, int], str]
else:
    from ringlet.host.named_tuple import NamedTuple

PATH_MAX = 256  # bytes of a path or a string that are shown
_BYTES_MAX = 32  # bytes of a buffer that are shown
_STRINGS_MAX = 16  # strings of a list that are shown, and
_STRING_MAX = 64  # bytes of each
_VECTORS_MAX = 4
_COUNT_MAX = 4096  # variables of an environment that are counted
_AT_FDCWD = -100
_O_CREAT, _O_TMPFILE = 0x40, 0x400000
_DUPFD = {0, 1030}  # commands of fcntl whose argument is a descriptor
_SETFD, _SETFL = 2, 4
_NAMED_ESCAPES = {0x0A: "\\n", 0x09: "\\t", 0x0D: "\\r", 0x22: '\\"', 0x5C: "\\\\"}
_ESCAPES = [
    _NAMED_ESCAPES.get(byte, chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}")
    for byte in range(256)
]


def quoted(data: bytes, *, is_cut: bool = False) -> str:
    """Returns bytes as a string of C, in printable ASCII alone; `...` follows one that is cut."""
    return f'"{"".join([_ESCAPES[byte] for byte in data])}"{"..." if is_cut else ""}'


class Parameter(NamedTuple):
    """How an argument is spelled; `is_late` says that the call fills it."""

    decode: Decoder
    option: str
    is_late: bool


def begin(call: Call, parameters: Sequence[Parameter]) -> list[str]:
    """Spells the arguments of a call that begins. Those that the call fills are empty."""
    return [
        "" if is_late else decode(call, value, option, 0)
        for value, (decode, option, is_late) in zip(call.arguments, parameters, strict=False)
    ]


def end(
    call: Call, parameters: Sequence[Parameter], words: list[str], result: int | None
) -> list[str]:
    """Returns the `words` of `begin`, with the arguments that the call has filled.

    A call that has failed has filled nothing: `result` is None or an error.
    """
    for at, (decode, option, is_late) in enumerate(parameters):
        if is_late:
            value = call.arguments[at]
            is_filled = result is not None and result >= 0
            words[at] = decode(call, value, option, result or 0) if is_filled else hex(value)
    return [word for word in words if word]


def result_text(name: str, architecture: int, result: int | None, error: str) -> str:
    """Returns the result in words, and the error; `?` for a call that never returns."""
    if result is None:
        return "?"
    if error:
        return f"-1 {error}"
    _, kind = parameters(name, architecture)
    if kind == "hex":
        return hex(result & 0xFFFFFFFFFFFFFFFF)
    return f"0{result:o}" if kind == "octal" else str(result)


@cache
def parameters(name: str, architecture: int) -> tuple[list[Parameter], str]:
    """Returns how the arguments of a call are spelled, and what its result is."""
    if architecture == I386:  # its structures are others, and so is the order of some arguments
        return [Parameter(_hex, "", False)] * 6, ""
    _, words = SIGNATURES.get(name, ("", ["hex"] * 6))
    result = ""
    if "->" in words:
        result = words[words.index("->") + 1]
        words = words[: words.index("->")]
    found = []
    for word in words:
        decoder, _, option = word.lstrip("!").partition(":")
        found.append(Parameter(_DECODERS[decoder], option, word.startswith("!")))
    return found, result


def _hex(call: Call, value: int, option: str, result: int) -> str:
    return hex(value) if value else "0"


def _size(call: Call, value: int, option: str, result: int) -> str:
    return str(_signed(value, 64))


def _int(call: Call, value: int, option: str, result: int) -> str:
    return str(_signed(value, 32))


def _uint(call: Call, value: int, option: str, result: int) -> str:
    return str(value & 0xFFFFFFFF)


def _octal(call: Call, value: int, option: str, result: int) -> str:
    return f"0{value & 0xFFFFFFFF:o}"


def _mode(call: Call, value: int, option: str, result: int) -> str:
    flags = call.arguments[int(option)]
    makes = flags & _O_CREAT or flags & _O_TMPFILE
    return _octal(call, value, option, result) if makes else ""


def _dirfd(call: Call, value: int, option: str, result: int) -> str:
    fd = _signed(value, 32)
    return "AT_FDCWD" if fd == _AT_FDCWD else str(fd)


def _words(call: Call, value: int, option: str, result: int) -> str:
    return spell(option, value)


def _signal(call: Call, value: int, option: str, result: int) -> str:
    return signal_name(_signed(value, 32))


def _fcntl(call: Call, value: int, option: str, result: int) -> str:
    command = call.arguments[1]
    if command in _DUPFD:
        return _int(call, value, option, result)
    if command == _SETFL:
        return spell("open", value)
    if command == _SETFD:
        return "FD_CLOEXEC" if value == 1 else hex(value)
    return hex(value) if value else ""


def _string(call: Call, value: int, option: str, result: int) -> str:
    if not value:
        return "NULL"
    return _text(call, value, PATH_MAX)


def _text(call: Call, address: int, most: int) -> str:
    data = call.thread.read(address, most + 1)
    text, end, _ = data.partition(b"\0")
    if not data:
        return hex(address)
    if not end and len(data) <= most:  # it ends where the memory does
        return f"{quoted(text)}?"
    return quoted(text[:most], is_cut=not end)


def _strings(call: Call, value: int, option: str, result: int) -> str:
    if not value:
        return "NULL"
    pointers = _pointers(call, value, _STRINGS_MAX + 1)
    if pointers is None:
        return hex(value)
    words = [_text(call, one, _STRING_MAX) for one in pointers[:_STRINGS_MAX]]
    return f"[{', '.join(words)}{', ...' if len(pointers) > _STRINGS_MAX else ''}]"


def _variables(call: Call, value: int, option: str, result: int) -> str:
    pointers = _pointers(call, value, _COUNT_MAX) if value else None
    if pointers is None:
        return _hex(call, value, option, result)
    count = len(pointers)
    return f"{hex(value)} /* {count}{'+' if count == _COUNT_MAX else ''} variables */"


def _pointers(call: Call, address: int, most: int) -> list[int] | None:
    """Reads a list of pointers, up to its NULL; None where there is no memory."""
    data = call.thread.read(address, most * 8)
    if len(data) < 8:
        return None
    pointers = struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8])
    return list(pointers[: pointers.index(0)] if 0 in pointers else pointers)


def _bytes(call: Call, value: int, option: str, result: int) -> str:
    """Spells a buffer: its size is the argument `option`, or else the result."""
    size = call.arguments[int(option)] if option else result
    return _block(call, value, size)


def _block(call: Call, address: int, size: int) -> str:
    if not address:
        return "NULL"
    data = call.thread.read(address, min(size, _BYTES_MAX))
    if size and not data:
        return hex(address)
    return quoted(data, is_cut=size > len(data))


def _vectors(call: Call, value: int, option: str, result: int) -> str:
    count = call.arguments[int(option)]
    data = call.thread.read(value, 16 * min(count, _VECTORS_MAX))
    blocks = [_block(call, *pair) for pair in struct.iter_unpack("<QQ", data[: len(data) & ~15])]
    if count and not blocks:
        return hex(value)
    return f"[{', '.join(blocks)}{', ...' if count > len(blocks) else ''}]"


def _pair(call: Call, value: int, option: str, result: int) -> str:
    data = call.thread.read(value, 8)
    if len(data) < 8:
        return hex(value)
    first, second = struct.unpack("<2i", data)
    return f"[{first}, {second}]"


def _timespec(call: Call, value: int, option: str, result: int) -> str:
    data = call.thread.read(value, 16) if value else b""
    if len(data) < 16:
        return hex(value) if value else "NULL"
    seconds, nanoseconds = struct.unpack("<2q", data)
    return f"{{{seconds} s, {nanoseconds} ns}}"


def _status(call: Call, value: int, option: str, result: int) -> str:
    """Spells the status that wait4 gives: wait(2), the macros of <sys/wait.h>."""
    data = call.thread.read(value, 4) if value else b""
    if len(data) < 4 or not result:
        return hex(value) if value else "NULL"
    status = int.from_bytes(data, "little")
    if status & 0x7F == 0:
        return f"[exited {status >> 8 & 0xFF}]"
    if status & 0xFF == 0x7F:
        return f"[stopped {signal_name(status >> 8 & 0xFF)}]"
    if status == 0xFFFF:
        return "[continued]"
    return f"[killed {signal_name(status & 0x7F)}]"


def _clone(call: Call, value: int, option: str, result: int) -> str:
    """Spells the flags of clone, whose lowest byte is the signal at the child's end."""
    signal = value & 0xFF
    words = [spell("clone", value & ~0xFF)] if value & ~0xFF else []
    words += [signal_name(signal)] if signal else []
    return "|".join(words) or "0"


def _clone3(call: Call, value: int, option: str, result: int) -> str:
    size = call.arguments[1]
    data = call.thread.read(value, min(size, 64))
    if len(data) < 64:
        return hex(value)
    flags, _, _, _, signal = struct.unpack_from("<5Q", data)
    words = [f"flags={spell('clone', flags)}"]
    words += [f"exit_signal={signal_name(signal)}"] if signal else []
    return f"{{{', '.join(words)}}}"


def _address(call: Call, value: int, option: str, result: int) -> str:
    """Spells a socket address, whose size is the argument `option`."""
    if not value:
        return "NULL"
    data = call.thread.read(value, min(call.arguments[int(option)] & 0xFFFFFFFF, 128))
    if len(data) < 2:
        return hex(value)
    family = int.from_bytes(data[:2], "little")
    rest = data[2:]
    if family == socket.AF_UNIX:
        path, _, _ = rest.partition(b"\0")
        name = quoted(path) if path else f"@{quoted(rest[1:])}"
        return f"{{AF_UNIX, {name}}}"
    if family == socket.AF_INET and len(rest) >= 6:
        port = int.from_bytes(rest[:2], "big")
        return f"{{AF_INET, {socket.inet_ntop(socket.AF_INET, rest[2:6])}:{port}}}"
    if family == socket.AF_INET6 and len(rest) >= 22:
        port = int.from_bytes(rest[:2], "big")
        return f"{{AF_INET6, [{socket.inet_ntop(socket.AF_INET6, rest[6:22])}]:{port}}}"
    return f"{{{spell('family', family)}, {quoted(rest[:_BYTES_MAX])}}}"


_DECODERS: dict[str, Decoder] = {
    "address": _address,
    "bytes": _bytes,
    "clone": _clone,
    "clone3": _clone3,
    "dirfd": _dirfd,
    "fcntl": _fcntl,
    "fd": _int,
    "hex": _hex,
    "int": _int,
    "mode": _mode,
    "octal": _octal,
    "pair": _pair,
    "path": _string,
    "signal": _signal,
    "size": _size,
    "status": _status,
    "string": _string,
    "strings": _strings,
    "timespec": _timespec,
    "uint": _uint,
    "variables": _variables,
    "vectors": _vectors,
    "words": _words,
}


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
