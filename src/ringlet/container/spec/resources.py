"""Checks `linux.resources` of config.json, but not whether this host's cgroups can do it.

Source: OCI Runtime Specification 1.3, config-linux.md, "Control groups" to "Unified".
"""

from __future__ import annotations

from ringlet.container.spec.checkers import (
    INT64,
    UINT16,
    UINT32,
    UINT64,
    FieldError,
    array,
    flag,
    integer,
    mapping,
    nonempty,
    one_of,
    record,
    shown,
    text,
)
from ringlet.host.number_list import parse_ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.container.spec.checkers import Rule
    from ringlet.container.spec.types import Cpu, Memory

MAJOR = integer(0, (1 << 12) - 1)  # Linux has no higher numbers
MINOR = integer(0, (1 << 20) - 1)
_LIMIT = integer(-1, (1 << 63) - 1)  # -1 is no limit


def cpu_list(value: object) -> str:
    """Checks for a list of processors or memory nodes, such as 0-3,7. "" is an empty list."""
    listed = text(value)
    try:
        ranges = parse_ranges(listed)
    except ValueError:
        raise FieldError(f"{shown(listed)} is no list of numbers", "write it like 0-3,7") from None
    for first, last in ranges:
        if first > last:
            raise FieldError(f"{first}-{last} runs backwards", f"write {last}-{first}")
    return listed


def _access(value: object) -> str:
    """Checks for r, w and m in any order. An `a` beside them means nothing more, as in runc."""
    access = text(value)
    if not set(access) <= set("rwma") or set(access) == {"a"}:
        raise FieldError(f"{shown(access)} is no access", "of r (read), w (write) and m (mknod)")
    return access


def _page_size(value: object) -> str:
    size = text(value)
    number = size[:-2]
    if (
        size[-2:] not in ("KB", "MB", "GB")
        or not (number.isascii() and number.isdecimal())
        or number.startswith("0")
    ):
        raise FieldError(f"{shown(size)} is no size of a page", "write it like 64KB, 2MB or 1GB")
    return size


def _word(value: object) -> str:
    """Checks for a device's name, as a word in a line that a controller reads."""
    word = nonempty(value)
    if word.split() != [word] or "/" in word:
        raise FieldError(f"{shown(word)} is no name of a device", "name one of the host's: eth0")
    return word


def _file(value: object) -> str:
    """Checks for the name of a file in the container's cgroup."""
    file = nonempty(value)
    if "/" in file or file in (".", ".."):
        raise FieldError("it is no file of a cgroup", "name one such as memory.high")
    return file


def _swap_above_limit(memory: Memory) -> None:
    limit, swap = memory.get("limit", 0), memory.get("swap", 0)
    if 0 < swap < limit:
        raise FieldError(
            f"{swap} is below limit {limit}", "it is of memory and swap together", "swap"
        )


def _burst_below_quota(cpu: Cpu) -> None:
    quota, burst = cpu.get("quota", 0), cpu.get("burst", 0)
    if 0 < quota < burst:
        raise FieldError(f"{burst} is above quota {quota}", "lower it", "burst")


def _any_of(one: str, other: str) -> Rule:
    def check(known: dict[str, object]) -> None:
        if one not in known and other not in known:
            raise FieldError(f"there is neither {one} nor {other}", "give one of them, or both")

    return check


_MEMORY = record(
    {},
    {
        **dict.fromkeys(("limit", "reservation", "swap", "kernel", "kernelTCP"), _LIMIT),
        "swappiness": integer(0, 100),
        **dict.fromkeys(("disableOOMKiller", "useHierarchy", "checkBeforeUpdate"), flag),
    },
    (_swap_above_limit,),
)
_CPU = record(
    {},
    {
        "shares": UINT64,
        "quota": INT64,
        "burst": UINT64,
        "period": UINT64,
        "realtimeRuntime": INT64,
        "realtimePeriod": UINT64,
        "cpus": cpu_list,
        "mems": cpu_list,
        "idle": integer(0, 1),
    },
    (_burst_below_quota,),
)
_NUMBERS = {"major": MAJOR, "minor": MINOR}
_WEIGHTS = {"weight": UINT16, "leafWeight": UINT16}
_BLOCK_IO = record(
    {},
    {
        **_WEIGHTS,
        "weightDevice": array(record(_NUMBERS, _WEIGHTS, (_any_of("weight", "leafWeight"),))),
        **dict.fromkeys(
            (
                "throttleReadBpsDevice",
                "throttleWriteBpsDevice",
                "throttleReadIOPSDevice",
                "throttleWriteIOPSDevice",
            ),
            array(record({**_NUMBERS, "rate": UINT64})),
        ),
    },
)
_DEVICE_RULE = record(
    {"allow": flag},
    {
        # A missing value means all. So do "" and -1, which Go programs write for a missing value.
        "type": one_of("type", ("a", "b", "c", "")),
        "major": integer(-1, (1 << 12) - 1),
        "minor": integer(-1, (1 << 20) - 1),
        "access": _access,
    },
)
_RDMA = record(
    {}, {"hcaHandles": UINT32, "hcaObjects": UINT32}, (_any_of("hcaHandles", "hcaObjects"),)
)

resources = record(
    {},
    {
        "devices": array(_DEVICE_RULE),
        "memory": _MEMORY,
        "cpu": _CPU,
        "pids": record({}, {"limit": INT64}),  # 0 and below is no limit
        "blockIO": _BLOCK_IO,
        "hugepageLimits": array(record({"pageSize": _page_size, "limit": UINT64})),
        "network": record(
            {},
            {"classID": UINT32, "priorities": array(record({"name": _word, "priority": UINT32}))},
        ),
        "rdma": mapping(_word, _RDMA),
        "unified": mapping(_file, text),
    },
)
