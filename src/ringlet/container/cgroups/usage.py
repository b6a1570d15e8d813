"""The usage of a container, in the few numbers that every sandbox has: reads five files.

Source: the kernel's admin-guide/cgroup-v1/ and admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

from ringlet.container.cgroups.file_access import keyed, read
from ringlet.host.outcome import Usage


def usage(version_1: dict[str, str], unified: str | None) -> Usage:
    """Returns usage from the folders of version 1, one for each controller, and of version 2."""
    time = memory = peak = processes = None
    unit = 1_000_000_000  # how many units of `time` are a second
    if "cpuacct" in version_1:
        time = _number(version_1["cpuacct"], "cpuacct.usage")
    elif unified is not None:
        time, unit = keyed(read(unified, "cpu.stat")).get("usage_usec"), 1_000_000
    if "memory" in version_1:
        memory = _number(version_1["memory"], "memory.usage_in_bytes")
        peak = _number(version_1["memory"], "memory.max_usage_in_bytes")
    elif unified is not None:
        memory = _number(unified, "memory.current")
        peak = _number(unified, "memory.peak")
    if (folder := version_1.get("pids", unified)) is not None:
        processes = _number(folder, "pids.current")
    return Usage(None if time is None else time / unit, memory, peak, processes)


def _number(folder: str, name: str) -> int | None:
    """Returns the number in a file; None if the kernel has no such file."""
    text = read(folder, name)
    return None if text is None else int(text)
