"""What the kernel tells of a student's process while it works: its machine, seen from outside.

Source: proc_pid_fd(5), proc_pid_maps(5), proc_pid_mem(5); Linux, Documentation/virt/kvm/api.rst, 5
(the kvm_run structure).
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

VM, VCPU = "anon_inode:kvm-vm", "anon_inode:kvm-vcpu:0"
EXIT_IO = 2  # KVM_EXIT_IO
EXIT_IO_IN = 0  # KVM_EXIT_IO_IN
_EXIT_REASON, _IO = 8, 32  # offsets in struct kvm_run
_MAX_MAPPING = 64 << 20  # bytes of one mapping that are looked at
_MAX_SEARCH = 256 << 20  # and of all


class Mapping(NamedTuple):
    """A mapping of the process: its addresses, and what is mapped."""

    start: int
    end: int
    writable: bool
    what: str


class KvmExit(NamedTuple):
    """The last exit in a vCPU's shared page; the last three count for port I/O alone."""

    reason: int
    direction: int
    size: int
    port: int


def descriptors(pid: int) -> list[str]:
    """Returns what the process has open."""
    found = []
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


def mappings(pid: int) -> Iterator[Mapping]:
    """Yields the mappings of the process; none if it has ended."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 20).splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.split(maxsplit=5)
        if len(fields) >= 5:
            start, _, end = fields[0].partition("-")
            what = fields[5] if len(fields) > 5 else ""
            yield Mapping(int(start, 16), int(end, 16), "w" in fields[1], what)


def read_memory(pid: int, address: int, size: int) -> bytes:
    """Returns memory of the process; fewer bytes, or none, where it can't be read."""
    try:
        fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(fd, size, address)
    except OSError:
        return b""
    finally:
        os.close(fd)


def last_exit(pid: int) -> KvmExit | None:
    """Returns the last exit of the process's first vCPU; None if it has mapped no vCPU's page."""
    for mapping in mappings(pid):
        if mapping.what == VCPU:
            page = read_memory(pid, mapping.start, 64)
            if len(page) == 64:
                (reason,) = struct.unpack_from("<I", page, _EXIT_REASON)
                return KvmExit(reason, *struct.unpack_from("<BBH", page, _IO))
    return None


def find_all(pid: int, tag: bytes) -> list[int]:
    """Returns the addresses of all copies of `tag` in the writable memory of the process."""
    found: list[int] = []
    left = _MAX_SEARCH
    for mapping in mappings(pid):
        size = mapping.end - mapping.start
        if not mapping.writable or size > min(left, _MAX_MAPPING) or mapping.what == VCPU:
            continue
        left -= size
        data = read_memory(pid, mapping.start, size)
        at = data.find(tag)
        while at >= 0:
            found.append(mapping.start + at)
            at = data.find(tag, at + 1)
    return found
