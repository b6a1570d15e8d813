"""What the kernel tells of a student's process while it works: its machine, seen from outside.

Source: proc_pid_fd(5), proc_pid_maps(5), proc_pid_mem(5), proc_pid_mountinfo(5),
proc_pid_status(5), setns(2); Linux, Documentation/virt/kvm/api.rst, 5 (the kvm_run structure).
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from contextlib import suppress
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

VM, VCPU = "anon_inode:kvm-vm", "anon_inode:kvm-vcpu:0"
EXIT_IO = 2  # KVM_EXIT_IO
EXIT_IO_IN = 0  # KVM_EXIT_IO_IN
_EXIT_REASON, _IO = 8, 32  # offsets in struct kvm_run
_MAX_PROCESSES = 100
_MAX_FILE = 1 << 20  # bytes of a file of /proc
_MAX_MAPPING = 64 << 20  # bytes of one mapping that are looked at
_MAX_SEARCH = 256 << 20  # and of all


# The program that joins the namespaces of a process: see `look_inside`.
_LOOK = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
at = f"/proc/{sys.argv[1]}/ns/"
for fd in [os.open(at + kind, os.O_RDONLY) for kind in ("user", "uts", "mnt")]:
    if libc.setns(fd, 0) < 0:
        sys.exit(1)
device = os.stat("/").st_dev
print(f"{os.major(device)}:{os.minor(device)}", os.uname().nodename)
"""


class Mapping(NamedTuple):
    """A mapping of the process: its addresses, and what is mapped."""

    start: int
    end: int
    writable: bool
    what: str


class Mount(NamedTuple):
    """A mount: its device (major:minor), where it is in the process's root, options, and type."""

    device: str
    at: str
    options: list[str]
    kind: str


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


def namespaces(pid: int) -> dict[str, str]:
    """Returns the namespaces of the process, by kind; none if it has ended."""
    found = {}
    for kind in ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts"):
        with suppress(OSError):
            found[kind] = os.readlink(f"/proc/{pid}/ns/{kind}")
    return found


def status(pid: int) -> dict[str, str]:
    """Returns the fields of /proc/PID/status; none if the process has ended."""
    fields = (line.partition(":") for line in _lines(f"/proc/{pid}/status"))
    return {name: value.strip() for name, _, value in fields}


def mounts(pid: int) -> list[Mount]:
    """Returns the mounts that the process sees."""
    found = []
    for line in _lines(f"/proc/{pid}/mountinfo"):
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) >= 6 and after:
            found.append(Mount(fields[2], fields[4], fields[5].split(","), after.split()[0]))
    return found


def look_inside(pid: int) -> tuple[str, str]:
    """Returns the host name, and the device of the root, of the namespaces of the process.

    That root is the root of the mount namespace, which chroot(2) doesn't change. A process of our
    own joins the namespaces and runs nothing of theirs. Raises `OSError` if it can't join.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-c", _LOOK, str(pid)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    device, _, name = done.stdout.decode(errors="replace").rstrip("\n").partition(" ")
    if done.returncode != 0:
        raise OSError("the namespaces can't be joined")
    return name, device


def device_of_root(pid: int) -> str:
    """Returns the device of the process's own root, as in `Mount`."""
    return device_name(os.stat(f"/proc/{pid}/root").st_dev)


def device_name(number: int) -> str:
    """Returns the name of a device as in `Mount`."""
    return f"{os.major(number)}:{os.minor(number)}"


def descendants(pid: int) -> list[int]:
    """Returns the process and the processes that come from it."""
    found: list[int] = []
    new = [pid]
    while new and len(found) < _MAX_PROCESSES:
        found.append(new.pop())
        for line in _lines(f"/proc/{found[-1]}/task/{found[-1]}/children"):
            new += map(int, line.split())
    return found


def command_line(pid: int) -> list[str]:
    """Returns the words of the process's command."""
    return "".join(_lines(f"/proc/{pid}/cmdline")).split("\0")[:-1]


def _lines(path: str) -> list[str]:
    """Returns the lines of a file of /proc; none if the process has ended."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_MAX_FILE).splitlines()
    except OSError:
        return []


def mappings(pid: int) -> Iterator[Mapping]:
    """Yields the mappings of the process; none if it has ended."""
    for line in _lines(f"/proc/{pid}/maps"):
        fields = line.split(maxsplit=5)
        if len(fields) >= 5:
            start, _, end = fields[0].partition("-")
            what = fields[5] if len(fields) > 5 else ""
            yield Mapping(int(start, 16), int(end, 16), "w" in fields[1], what)


def smaps(pid: int) -> list[str]:
    """Returns the lines of /proc/PID/smaps: the mappings, with what each takes."""
    return _lines(f"/proc/{pid}/smaps")


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


def write_memory(pid: int, address: int, data: bytes) -> None:
    """Writes to memory of the process, if it can be written."""
    with suppress(OSError), open(f"/proc/{pid}/mem", "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), data, address)


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
