"""Translates limits to cgroup version 1: for each controller, the files and their values.

The number 0 means "not set", as in Docker and runc; a pids.limit of 0 means no limit.

Source: the kernel's admin-guide/cgroup-v1/ and scheduler/sched-bwc.rst; OCI runtime
specification, config-linux.md.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.container.spec.types import Resources

    Look = Callable[[str], str | None]  # the text of a cgroup's file, None if there is none

Write = tuple[str, str]  # file, value


def memory(resources: Resources, look: Look) -> list[Write]:
    """Returns memory limits. `swap` limits memory and swap together, as `memory.memsw` does."""
    wanted = resources.get("memory", {})
    limit, swap = wanted.get("limit", 0), wanted.get("swap", 0)
    if limit == -1 and not swap and look("memory.memsw.limit_in_bytes") is not None:
        swap = -1  # otherwise the old limit of both together would still limit memory
    writes = []
    if wanted.get("useHierarchy") and (look("memory.use_hierarchy") or "1").strip() == "0":
        writes.append(("memory.use_hierarchy", "1"))
    for name, value in (
        ("memory.limit_in_bytes", limit),
        ("memory.memsw.limit_in_bytes", swap),
        ("memory.soft_limit_in_bytes", wanted.get("reservation", 0)),
        ("memory.kmem.tcp.limit_in_bytes", wanted.get("kernelTCP", 0)),
    ):
        if value:
            writes.append((name, str(value)))
    if "swappiness" in wanted:
        writes.append(("memory.swappiness", str(wanted["swappiness"])))
    if wanted.get("disableOOMKiller"):
        writes.append(("memory.oom_control", "1"))
    return writes


def cpu(resources: Resources, look: Look) -> list[Write]:
    """Returns the shares, and the bandwidth: `quota` microseconds in each `period`."""
    wanted = resources.get("cpu", {})
    writes = [
        (name, str(value))
        for name, value in (
            ("cpu.cfs_burst_us", wanted.get("burst")),
            ("cpu.cfs_period_us", wanted.get("period") or None),
            ("cpu.cfs_quota_us", wanted.get("quota") or None),
            ("cpu.rt_period_us", wanted.get("realtimePeriod") or None),
            ("cpu.rt_runtime_us", wanted.get("realtimeRuntime") or None),
            ("cpu.shares", wanted.get("shares") or None),
            ("cpu.idle", wanted.get("idle")),
        )
        if value is not None
    ]
    return without_defaults(writes, look, ("cpu.cfs_burst_us", "cpu.idle"))


def without_defaults(writes: list[Write], look: Look, names: tuple[str, ...]) -> list[Write]:
    """Leaves out zeroes for files that the kernel lacks: without a file the value is 0 anyway."""
    return [it for it in writes if not (it[0] in names and it[1] == "0" and look(it[0]) is None)]


def cpuset(resources: Resources, look: Look) -> list[Write]:
    """Returns the CPUs and memory nodes. `cpuset.*` has the same format in both versions."""
    wanted = resources.get("cpu", {})
    cpus, mems = wanted.get("cpus", ""), wanted.get("mems", "")
    return [(f"cpuset.{it}", value) for it, value in (("cpus", cpus), ("mems", mems)) if value]


def pids(resources: Resources, look: Look) -> list[Write]:
    """Returns the number of tasks. `pids.max` has the same format in both versions.

    0 and below means no limit: podman writes 0 instead of -1, and under a limit of 0 nothing runs.
    """
    limit = resources.get("pids", {}).get("limit")
    return [] if limit is None else [("pids.max", str(limit) if limit > 0 else "max")]


def blkio(resources: Resources, look: Look) -> list[Write]:
    """Returns weights and throttles. Weights are CFQ's up to Linux 4.20, and BFQ's after that."""
    wanted = resources.get("blockIO", {})
    bfq = "" if look("blkio.weight") is not None else "bfq."
    writes = []
    if wanted.get("weight"):
        writes.append((f"blkio.{bfq}weight", str(wanted["weight"])))
    if wanted.get("leafWeight"):
        writes.append(("blkio.leaf_weight", str(wanted["leafWeight"])))
    for device in wanted.get("weightDevice") or ():
        number = f"{device['major']}:{device['minor']}"
        if device.get("weight"):
            writes.append((f"blkio.{bfq}weight_device", f"{number} {device['weight']}"))
        if device.get("leafWeight"):
            writes.append(("blkio.leaf_weight_device", f"{number} {device['leafWeight']}"))
    for throttles, name in (
        (wanted.get("throttleReadBpsDevice"), "read_bps"),
        (wanted.get("throttleWriteBpsDevice"), "write_bps"),
        (wanted.get("throttleReadIOPSDevice"), "read_iops"),
        (wanted.get("throttleWriteIOPSDevice"), "write_iops"),
    ):
        for throttle in throttles or ():
            value = f"{throttle['major']}:{throttle['minor']} {throttle['rate']}"
            writes.append((f"blkio.throttle.{name}_device", value))
    return writes


def hugetlb(resources: Resources, look: Look) -> list[Write]:
    """Returns the limits at page faults, and at reservations if the kernel counts reservations."""
    return huge_pages(resources, look, "limit_in_bytes")


def huge_pages(resources: Resources, look: Look, limit: str) -> list[Write]:
    """Does the same as `hugetlb`, for files whose names end in `limit`."""
    writes = []
    for wanted in resources.get("hugepageLimits") or ():
        for accounting in ("", "rsvd."):
            name = f"hugetlb.{wanted['pageSize']}.{accounting}{limit}"
            if not accounting or look(name) is not None:
                writes.append((name, str(wanted["limit"])))
    return writes


def net_cls(resources: Resources, look: Look) -> list[Write]:
    """Returns the class that marks packets."""
    class_id = resources.get("network", {}).get("classID")
    return [("net_cls.classid", str(class_id))] if class_id else []


def net_prio(resources: Resources, look: Look) -> list[Write]:
    """Returns the priority of traffic for each interface."""
    return [
        ("net_prio.ifpriomap", f"{it['name']} {it['priority']}")
        for it in resources.get("network", {}).get("priorities") or ()
    ]


def rdma(resources: Resources, look: Look) -> list[Write]:
    """Returns handles and objects of each device. `rdma.max` is the same in both versions."""
    writes = []
    for device, wanted in (resources.get("rdma") or {}).items():
        value = device
        if "hcaHandles" in wanted:
            value += f" hca_handle={wanted['hcaHandles']}"
        if "hcaObjects" in wanted:
            value += f" hca_object={wanted['hcaObjects']}"
        writes.append(("rdma.max", value))
    return writes


# In the order in which they are set: a controller that can make others' limits fail comes first.
CONTROLLERS: dict[str, Callable[[Resources, Look], list[Write]]] = {
    "cpuset": cpuset,
    "cpu": cpu,
    "pids": pids,
    "blkio": blkio,
    "hugetlb": hugetlb,
    "net_cls": net_cls,
    "net_prio": net_prio,
    "rdma": rdma,
    "memory": memory,
}
