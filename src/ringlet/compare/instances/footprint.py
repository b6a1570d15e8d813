"""Measures the host's memory that processes use, and that the kernel uses for them.

Source: Linux, Documentation/filesystems/proc.rst (smaps, smaps_rollup, status, meminfo, zoneinfo).
"""

from __future__ import annotations

import mmap
from typing import NamedTuple

from ringlet.compare.instances import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KIB = 1 << 10


class Footprint(NamedTuple):
    """The memory of some processes, in bytes."""

    resident: int  # each page counts once, even if others share it
    page_tables: int


def footprint(pids: Iterable[int]) -> Footprint:
    """Returns the memory of all these processes together. Raises `Unavailable`.

    A process that has ended has no memory. The usual sum of proportional set sizes (PSS) isn't
    used. PSS would charge a part of Python's and ringlet's pages to the process that runs the
    comparison, which would favour ways that are written in Python.
    """
    anonymous = page_tables = 0
    mapped: dict[tuple[str, ...], int] = {}  # by device, inode and offset of the mapping
    for pid in pids:
        try:
            anonymous += _sizes(f"/proc/{pid}/smaps_rollup").get("Pss_Anon", 0)
            page_tables += _sizes(f"/proc/{pid}/status").get("VmPTE", 0)
            for key, size in _files(pid):
                mapped[key] = max(mapped.get(key, 0), size)
        except (FileNotFoundError, ProcessLookupError):
            continue
        except PermissionError:
            raise Unavailable(
                f"the memory of process {pid} may not be looked at", "run it as root"
            ) from None
    return Footprint(anonymous + sum(mapped.values()), page_tables)


def available() -> int:
    """Returns how many bytes programs could still take before the host is short of memory.

    It is MemAvailable and the free pages in the per-CPU lists, which MemAvailable leaves out. Since
    Linux 6.7 these lists may grow to hundreds of MiB. Without the lists, the result would not
    change when a program takes a page from a list or gives a page back.
    """
    fields = (line.split() for line in _lines("/proc/zoneinfo"))
    listed = sum(int(words[1]) for words in fields if words[:1] == ["count:"])
    return _sizes("/proc/meminfo")["MemAvailable"] + listed * mmap.PAGESIZE


def kvm_page_tables() -> int:
    """Returns the bytes of page tables that KVM keeps for all guests (since Linux 6.1)."""
    return _sizes("/proc/meminfo").get("SecPageTables", 0)


def _files(pid: int) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yields the resident bytes of each mapping of a file, without its private copies."""
    key: tuple[str, ...] = ()
    resident = 0
    for line in _lines(f"/proc/{pid}/smaps"):
        name, *words = line.split()
        if not name.endswith(":"):  # ADDRESSES PERMISSIONS OFFSET DEVICE INODE [PATH]
            offset, device, inode = words[1:4]
            key = (device, inode, offset) if inode != "0" else ()
        elif name == "Rss:":
            resident = int(words[0]) * KIB
        elif name == "Anonymous:" and key:
            yield key, resident - int(words[0]) * KIB


def _sizes(path: str) -> dict[str, int]:
    """Returns the values of the file's lines `Name: N kB`, in bytes, by their names."""
    fields = (line.split() for line in _lines(path))
    return {
        words[0].rstrip(":"): int(words[1]) * KIB
        for words in fields
        if len(words) == 3 and words[2] == "kB"
    }


def _lines(path: str) -> list[str]:
    with open(path, "rb", buffering=0) as file:
        return file.read().decode(errors="replace").splitlines()
