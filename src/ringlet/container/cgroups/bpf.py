"""Loads a device filter and attaches it to a cgroup, by bpf(2).

Source: include/uapi/linux/bpf.h, `union bpf_attr`; bpf(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

_NUMBERS = {"x86_64": 321, "aarch64": 280}  # the number of the system call bpf

_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _PROG_QUERY = 5, 8, 9, 13, 16
_TYPE_CGROUP_DEVICE = 15  # the program's type
_CGROUP_DEVICE = 6  # the place where the program is attached
_ALLOW_MULTI = 2  # others may be attached, also below: all have to allow an access
_MOST = 64  # how many programs may be attached to one cgroup


def replace_filter(folder: str, program: bytes) -> None:
    """Attaches the program to a version 2 cgroup, and detaches the programs that were there.

    Raises `OSError`.
    """
    call = _system_call()
    cgroup = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # The new program is attached before the old ones are detached: without any filter
        # everything would be allowed in between.
        old = _attached(call, cgroup)
        loaded = load(program)
        try:
            call(_PROG_ATTACH, struct.pack("=4I", cgroup, loaded, _CGROUP_DEVICE, _ALLOW_MULTI))
        finally:
            os.close(loaded)
        for number in old:
            fd = call(_PROG_GET_FD_BY_ID, struct.pack("=3I", number, 0, 0))
            try:
                call(_PROG_DETACH, struct.pack("=4I", cgroup, fd, _CGROUP_DEVICE, 0))
            finally:
                os.close(fd)
    finally:
        os.close(cgroup)


def load(program: bytes) -> int:
    """Returns a descriptor of the program, which the kernel has verified. Raises `OSError`."""
    # Both buffers have to exist until the call has returned.
    code = ctypes.create_string_buffer(program, len(program))
    license = ctypes.create_string_buffer(b"MIT")
    attributes = struct.pack(
        "=2I2Q2IQ2I16s",
        _TYPE_CGROUP_DEVICE,
        len(program) // 8,
        ctypes.addressof(code),
        ctypes.addressof(license),
        *(0, 0, 0),  # no log
        *(0, 0),  # any kernel version, no flags
        b"ringlet_devices",
    )
    return _system_call()(_PROG_LOAD, attributes)


def _attached(call: _Call, cgroup: int) -> list[int]:
    """Returns the ids of the programs that are attached to this cgroup itself."""
    ids = (ctypes.c_uint32 * _MOST)()
    query = struct.pack("=4IQ2I", cgroup, _CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), _MOST, 0)
    attributes = ctypes.create_string_buffer(query, len(query))
    call(_PROG_QUERY, attributes)
    count: int = struct.unpack_from("=I", attributes, 24)[0]
    return list(ids[:count])


class _Call:
    """Calls bpf(2) with a command and its attributes; raises OSError."""

    def __init__(self, number: int) -> None:
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long
        self._number = ctypes.c_long(number)

    def __call__(self, command: int, attributes: bytes | ctypes.Array[ctypes.c_char]) -> int:
        size = ctypes.c_uint(len(attributes))
        result: int = self._syscall(self._number, ctypes.c_int(command), attributes, size)
        if result < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        return result


def _system_call() -> _Call:
    number = _NUMBERS.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return _Call(number)
