"""Translates limits to cgroup version 2, and converts values that a bundle gives for version 1.

The number 0 means "not set", as in Docker and runc; a pids.limit of 0 means no limit. A limit
without a counterpart raises `CgroupError`.

Source: the kernel's admin-guide/cgroup-v2.rst; OCI runtime specification, config-linux.md;
the conversions of runc and crun, which all engines count on.
"""

from __future__ import annotations

from ringlet.container.cgroups.file_access import CgroupError
from ringlet.container.cgroups.v1 import (
    cpuset,
    huge_pages,
    pids,
    rdma,
    without_defaults,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.container.cgroups.v1 import (
        Look,
        Write,
    )
    from ringlet.container.spec.types import Resources


def memory(resources: Resources, look: Look) -> list[Write]:
    """Returns memory limits. `swap` includes memory, but `memory.swap.max` limits swap alone."""
    wanted = resources.get("memory", {})
    for name in ("swappiness", "disableOOMKiller", "kernelTCP"):
        value = wanted.get(name)
        if value not in (None, False, 0, -1) or (name == "swappiness" and value == 0):
            raise _no_counterpart(f"memory.{name}")
    limit = wanted.get("limit", 0)
    if wanted.get("checkBeforeUpdate") and limit > 0:
        usage = int(look("memory.current") or 0)
        if usage > limit:
            raise CgroupError(
                f"memory.limit {limit} is below the {usage} bytes in use",
                "set a larger limit, or drop checkBeforeUpdate: then processes are killed",
            )
    writes = []
    swap = _swap(wanted.get("swap", 0), limit, look)
    # Without swap, or if swap isn't counted, the file is missing; then the container has no swap.
    if swap and not (swap in ("0", "max") and look("memory.swap.max") is None):
        writes.append(("memory.swap.max", swap))
    if limit:
        writes.append(("memory.max", _or_max(limit)))
    if wanted.get("reservation"):
        writes.append(("memory.low", _or_max(wanted["reservation"])))
    return writes


def _swap(both: int, limit: int, look: Look) -> str | None:
    if not both:
        return "max" if limit == -1 else None
    if both < 0:
        return "max"
    if not limit:  # an update of this limit alone
        now = (look("memory.max") or "").strip()
        limit = int(now) if now.isdecimal() else 0
    if limit == -1:
        return str(both)
    if not limit or both < limit:
        raise CgroupError(
            f"memory.swap {both} is of memory and swap together, but memory.limit is {limit}",
            "set memory.limit, and memory.swap to that or more",
        )
    return str(both - limit)


def cpu(resources: Resources, look: Look) -> list[Write]:
    """Returns the weight, and the bandwidth: `quota` microseconds in each `period`."""
    wanted = resources.get("cpu", {})
    for name in ("realtimeRuntime", "realtimePeriod"):
        if wanted.get(name):
            raise _no_counterpart(f"cpu.{name}")
    writes = []
    if "burst" in wanted:
        writes.append(("cpu.max.burst", str(wanted["burst"])))
    quota, period = wanted.get("quota", 0), wanted.get("period", 0)
    if quota and period:
        writes.append(("cpu.max", f"{_or_max(quota)} {period}"))
    elif quota:
        writes.append(("cpu.max", _or_max(quota)))  # the period stays
    elif period:
        now = (look("cpu.max") or "max").split()[0]
        writes.append(("cpu.max", f"{now} {period}"))
    if wanted.get("shares"):
        writes.append(("cpu.weight", str(weight_of_shares(wanted["shares"]))))
    if "idle" in wanted:
        writes.append(("cpu.idle", str(wanted["idle"])))
    return without_defaults(writes, look, ("cpu.max.burst", "cpu.idle"))


def weight_of_shares(shares: int) -> int:
    """Converts `cpu.shares` (2 to 262144, usually 1024) to `cpu.weight` (1 to 10000, usually 100).

    The conversion is a curve on a logarithmic scale through (2, 1), (1024, 100), (262144, 10000).
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    from math import ceil, log2

    x = log2(shares)
    return ceil(10 ** ((x * x + 125 * x) / 612 - 7 / 34))


def io(resources: Resources, look: Look) -> list[Write]:
    """Returns weights (BFQ's if BFQ is there, else the cost model's) and throttles."""
    wanted = resources.get("blockIO", {})
    devices = wanted.get("weightDevice") or ()
    if wanted.get("leafWeight") or any(it.get("leafWeight") for it in devices):
        raise _no_counterpart("blockIO.leafWeight")
    weights = [("default", wanted["weight"])] if wanted.get("weight") else []
    weights += [
        (f"{it['major']}:{it['minor']}", it["weight"]) for it in devices if it.get("weight")
    ]
    writes = []
    if weights:
        bfq = look("io.bfq.weight") is not None
        for what, weight in weights:
            value = weight if bfq else 1 + (weight - 10) * 9999 // 990
            writes.append(("io.bfq.weight" if bfq else "io.weight", f"{what} {value}"))
    for throttles, key in (
        (wanted.get("throttleReadBpsDevice"), "rbps"),
        (wanted.get("throttleWriteBpsDevice"), "wbps"),
        (wanted.get("throttleReadIOPSDevice"), "riops"),
        (wanted.get("throttleWriteIOPSDevice"), "wiops"),
    ):
        for it in throttles or ():
            writes.append(("io.max", f"{it['major']}:{it['minor']} {key}={it['rate'] or 'max'}"))
    return writes


def hugetlb(resources: Resources, look: Look) -> list[Write]:
    """Returns the limits at page faults, and at reservations if the kernel counts reservations."""
    return huge_pages(resources, look, "max")


def unified(resources: Resources) -> list[Write]:
    """Returns limits that are written for version 2 already. Several lines are several settings."""
    writes = []
    for name, value in (resources.get("unified") or {}).items():
        # These files move, stop or kill processes; they are no limits.
        if "/" in name or "." not in name or name in _NO_LIMITS:
            raise CgroupError(
                f"unified: {name!r} is no limit of a cgroup", "name a file such as memory.high"
            )
        writes += [(name, line) for line in value.split("\n") if line.strip()]
    return writes


_NO_LIMITS = frozenset(
    ("cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze", "cgroup.type", "..")
)


def _or_max(value: int) -> str:
    return str(value) if value >= 0 else "max"


def _no_counterpart(what: str) -> CgroupError:
    return CgroupError(f"{what} has no counterpart in cgroup version 2", "leave it out")


# In the order in which they are set.
CONTROLLERS: dict[str, Callable[[Resources, Look], list[Write]]] = {
    "cpuset": cpuset,
    "cpu": cpu,
    "pids": pids,
    "io": io,
    "hugetlb": hugetlb,
    "rdma": rdma,
    "memory": memory,
}
