"""What processes, and the kernel for them, take of the host's memory.

Source: Linux, Documentation/filesystems/proc.rst (smaps, smaps_rollup, status, meminfo, zoneinfo).
"""

from __future__ import annotations

import mmap
from typing import NamedTuple

from ringlet.compare.ways import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KIB = 1 << 10


class Footprint(NamedTuple):
    """In bytes."""

    resident: int  # each page once, whatever else on the host shares it
    page_tables: int


def footprint(pids: Iterable[int]) -> Footprint:
    """Of all these processes together; one that is gone has none. Raises `Unavailable`.

    The usual sum of their proportional sizes (PSS) would give a part of Python's and ringlet's
    own pages to the process that compares, and favour what is written in Python over what isn't.
    """
    anonymous = page_tables = 0
    mapped: dict[tuple[str, ...], int] = {}  # by device, inode and offset in the file
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
    """Bytes that programs could still have before the host is short of memory.

    Free pages in the lists of each CPU are among them, which MemAvailable leaves out: since Linux
    6.7 those may grow to hundreds of MiB, and what a program takes and gives back wouldn't show.
    """
    fields = (line.split() for line in _lines("/proc/zoneinfo"))
    listed = sum(int(words[1]) for words in fields if words[:1] == ["count:"])
    return _sizes("/proc/meminfo")["MemAvailable"] + listed * mmap.PAGESIZE


def kvm_page_tables() -> int:
    """Bytes of the page tables that the kernel keeps for all guests (since Linux 6.1)."""
    return _sizes("/proc/meminfo").get("SecPageTables", 0)


def _files(pid: int) -> Iterator[tuple[tuple[str, ...], int]]:
    """What is resident of each mapping of a file, without the pages that it has a copy of."""
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
    """Its lines `Name: N kB`, in bytes."""
    fields = (line.split() for line in _lines(path))
    return {
        words[0].rstrip(":"): int(words[1]) * KIB
        for words in fields
        if len(words) == 3 and words[2] == "kB"
    }


def _lines(path: str) -> list[str]:
    with open(path, "rb", buffering=0) as file:
        return file.read().decode(errors="replace").splitlines()
