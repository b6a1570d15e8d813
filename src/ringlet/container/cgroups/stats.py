"""The statistics of a container in the format of engines: the "data" of `runc events --stats`.

Times are in nanoseconds, and sizes are in bytes. "No limit" is 2**64 - 1. Values that this host
doesn't count are left out.

Source: runc, types/events.go; the kernel's admin-guide/cgroup-v1/ and admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import os

from ringlet.container.cgroups.file_access import keyed, read
from ringlet.host.number_list import parse_numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UNLIMITED = (1 << 64) - 1
_OPERATIONS = {"r": "Read", "w": "Write", "d": "Discard"}  # the letters that io.stat uses


def stats(version_1: dict[str, str], unified: str | None) -> dict[str, Any]:
    """Returns statistics from the folders of version 1, one for each controller, and version 2."""
    of: dict[str, Any] = {"cpu": {"usage": {}, "throttling": {}}, "cpuset": {}, "memory": {}}
    of |= {"pids": {}, "blkio": {}, "hugetlb": {}, "intel_rdt": {}, "network_interfaces": None}
    if unified is not None:
        of["cpu"] = _cpu_2(unified)
        of["memory"] = _memory_2(unified)
        of["blkio"] = _io(unified)
        of["cpuset"] = _cpuset(unified, "cpuset.{}.effective")
        of["hugetlb"] = _hugetlb(unified)
        of["pids"] = _pids(unified)
    if "cpuacct" in version_1:
        of["cpu"]["usage"] = _cpuacct(version_1["cpuacct"])
    if "cpu" in version_1:
        of["cpu"]["throttling"] = _throttling(version_1["cpu"], "throttled_time", 1)
    if "memory" in version_1:
        of["memory"] |= _memory(version_1["memory"])
    if "blkio" in version_1:
        of["blkio"] |= _blkio(version_1["blkio"])
    if "cpuset" in version_1:
        of["cpuset"] = _cpuset(version_1["cpuset"], "cpuset.effective_{}")
    if "hugetlb" in version_1:
        of["hugetlb"] = _hugetlb(version_1["hugetlb"])
    if "pids" in version_1:
        of["pids"] = _pids(version_1["pids"])
    return of


def _number(folder: str, name: str) -> int:
    """Returns the number in a file; 0 if there is no such file."""
    text = (read(folder, name) or "0").strip()
    return _UNLIMITED if text == "max" else int(text)


def _numbers(folder: str, name: str) -> list[int]:
    return [int(it) for it in (read(folder, name) or "").split()]


def _cpuacct(folder: str) -> dict[str, Any]:
    rows = [line.split() for line in (read(folder, "cpuacct.usage_all") or "").splitlines()[1:]]
    return {
        "total": _number(folder, "cpuacct.usage"),
        "percpu": _numbers(folder, "cpuacct.usage_percpu"),
        "percpu_kernel": [int(row[2]) for row in rows],
        "percpu_user": [int(row[1]) for row in rows],
        "kernel": _number(folder, "cpuacct.usage_sys"),
        "user": _number(folder, "cpuacct.usage_user"),
    }


def _cpu_2(folder: str) -> dict[str, Any]:
    used = keyed(read(folder, "cpu.stat"))
    return {
        "usage": {
            "total": 1000 * used.get("usage_usec", 0),
            "kernel": 1000 * used.get("system_usec", 0),
            "user": 1000 * used.get("user_usec", 0),
        },
        "throttling": _throttling(folder, "throttled_usec", 1000),
        **_pressure(folder, "cpu"),
    }


def _throttling(folder: str, time: str, unit: int) -> dict[str, int]:
    used = keyed(read(folder, "cpu.stat"))
    return {
        "periods": used.get("nr_periods", 0),
        "throttledPeriods": used.get("nr_throttled", 0),
        "throttledTime": unit * used.get(time, 0),
    }


def _memory(folder: str) -> dict[str, Any]:
    raw = keyed(read(folder, "memory.stat"))
    of: dict[str, Any] = {"cache": raw.get("cache", 0), "raw": raw}
    kinds = (("usage", ""), ("swap", "memsw."), ("kernel", "kmem."), ("kernelTCP", "kmem.tcp."))
    for name, kind in kinds:
        of[name] = {
            "limit": _number(folder, f"memory.{kind}limit_in_bytes"),
            "usage": _number(folder, f"memory.{kind}usage_in_bytes"),
            "max": _number(folder, f"memory.{kind}max_usage_in_bytes"),
            "failcnt": _number(folder, f"memory.{kind}failcnt"),
        }
    return of


def _memory_2(folder: str) -> dict[str, Any]:
    if read(folder, "memory.current") is None:
        return _pressure(folder, "memory")
    raw = keyed(read(folder, "memory.stat"))
    memory = {
        "limit": _number(folder, "memory.max"),
        "usage": _number(folder, "memory.current"),
        "max": _number(folder, "memory.peak"),
        "failcnt": keyed(read(folder, "memory.events")).get("max", 0),
    }
    of: dict[str, Any] = {"cache": raw.get("file", 0), "raw": raw, "usage": memory}
    if read(folder, "memory.swap.current") is not None:
        swap = _number(folder, "memory.swap.max")
        of["swap"] = {  # engines expect memory and swap together, as version 1 counts
            "limit": min(_UNLIMITED, memory["limit"] + swap),
            "usage": memory["usage"] + _number(folder, "memory.swap.current"),
            "max": 0,
            "failcnt": keyed(read(folder, "memory.swap.events")).get("fail", 0),
        }
    return of | _pressure(folder, "memory")


def _blkio(folder: str) -> dict[str, Any]:
    return {
        name: [
            entry
            for line in (read(folder, f"blkio.throttle.{file}_recursive") or "").splitlines()
            if (entry := _blkio_entry(line)) is not None
        ]
        for name, file in (
            ("ioServiceBytesRecursive", "io_service_bytes"),
            ("ioServicedRecursive", "io_serviced"),
        )
    }


def _blkio_entry(line: str) -> dict[str, Any] | None:
    words = line.split()
    if len(words) != 3:  # the line with the sum of all devices names no device
        return None
    return _entry(words[0], words[1], int(words[2]))


def _entry(device: str, operation: str, value: int) -> dict[str, Any]:
    major, minor = map(int, device.split(":"))
    return {"major": major, "minor": minor, "op": operation, "value": value}


def _io(folder: str) -> dict[str, Any]:
    sizes, counts = [], []
    for line in (read(folder, "io.stat") or "").splitlines():
        device, *fields = line.split()
        if ":" not in device:
            continue
        used = dict(field.split("=") for field in fields if "=" in field)
        for letter, operation in _OPERATIONS.items():
            sizes.append(_entry(device, operation, int(used.get(f"{letter}bytes", 0))))
            counts.append(_entry(device, operation, int(used.get(f"{letter}ios", 0))))
    of = {"ioServiceBytesRecursive": sizes, "ioServicedRecursive": counts}
    return of | _pressure(folder, "io")


def _pids(folder: str) -> dict[str, int]:
    limit = _number(folder, "pids.max")
    return {
        "current": _number(folder, "pids.current"),
        "limit": 0 if limit == _UNLIMITED else limit,  # runc shows no limit as 0
    }


def _cpuset(folder: str, effective: str) -> dict[str, Any]:
    of: dict[str, Any] = {
        what: parse_numbers((read(folder, effective.format(what)) or "").strip())
        for what in ("cpus", "mems")
    }
    for name in (
        "cpu_exclusive",
        "mem_hardwall",
        "mem_exclusive",
        "memory_migrate",
        "memory_spread_page",
        "memory_spread_slab",
        "memory_pressure",
        "sched_load_balance",
        "sched_relax_domain_level",
    ):
        of[name] = _number(folder, f"cpuset.{name}")
    return of


def _hugetlb(folder: str) -> dict[str, dict[str, int]]:
    """Returns statistics for each page size. Version 2 has no peak."""
    found = {}
    for name in os.listdir(folder):
        kind, _, what = name.rpartition(".")
        if kind.startswith("hugetlb.") and kind.count(".") == 1:
            if what == "usage_in_bytes":
                peak = _number(folder, f"{kind}.max_usage_in_bytes")
                failures = _number(folder, f"{kind}.failcnt")
            elif what == "current":
                peak = 0
                failures = keyed(read(folder, f"{kind}.events")).get("max", 0)
            else:
                continue
            usage = _number(folder, name)
            found[kind[8:]] = {"usage": usage, "max": peak, "failcnt": failures}
    return found


def _pressure(folder: str, resource: str) -> dict[str, Any]:
    """Returns how long processes waited for the resource (PSI), if the kernel counts that."""
    of: dict[str, Any] = {}
    for line in (read(folder, f"{resource}.pressure") or "").splitlines():
        kind, *fields = line.split()
        values = dict(field.split("=") for field in fields)
        of[kind] = {key: int(it) if key == "total" else float(it) for key, it in values.items()}
    return {"psi": of} if of else {}
