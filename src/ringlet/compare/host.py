"""The host on which a comparison runs.

Source: proc(5), /proc/cpuinfo; Linux, Documentation/ABI/testing/sysfs-firmware-dmi-tables and
drivers/firmware/dmi-id.c for /sys/class/dmi/id; arch/x86/include/asm/cpufeatures.h ("hypervisor");
proc(5), /proc/stat; getrusage(2).
"""

from __future__ import annotations

import os
import platform
import resource
import time
from importlib.metadata import version

from ringlet.compare.report import Host, Others
from ringlet.errors import RingletError
from ringlet.kvm.system import System
from ringlet.machine.probe import unsupported_instruction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def look(versions: Mapping[str, str]) -> Host:
    """Returns the facts about the host; `versions` are those of the compared programs."""
    processor, is_guest = _processor()
    model = " ".join(filter(None, map(_dmi, ("sys_vendor", "product_name"))))
    return Host(
        machine=model or platform.machine(),
        processor=processor,
        processors=len(os.sched_getaffinity(0)),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        kernel=f"{platform.system()} {platform.release()}",
        kvm=kvm(),
        virtualization=(model or "a hypervisor that doesn't name itself") if is_guest else "none",
        versions={"ringlet": version("ringlet"), "Python": platform.python_version(), **versions},
    )


class Watch:
    """Watches the other work on the host, from the moment when the watch is made."""

    def __init__(self) -> None:
        self._before = _times()
        self._load = os.getloadavg()[0]

    def others(self) -> Others | None:
        """Returns the other work so far, or None if /proc has no numbers."""
        now = _times()
        if now is None or self._before is None:
            return None
        seconds, own, busy, steal = (a - b for a, b in zip(now, self._before, strict=True))
        return Others(
            busy=max(busy - own, 0) / seconds if seconds > 0 else 0.0,
            steal=steal / seconds if seconds > 0 else 0.0,
            load=self._load,
        )


def _times() -> tuple[float, float, float, float] | None:
    """Returns, in seconds, the clock, our processes' time, all processes' time, and steal time."""
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    try:
        with open("/proc/stat") as file:
            ticks = [int(word) for word in file.readline().split()[1:9]]
        user, nice, system, _, _, irq, softirq, steal = ticks
    except (OSError, ValueError):
        return None
    tick = os.sysconf("SC_CLK_TCK")
    return (
        time.monotonic(),
        sum(usage.ru_utime + usage.ru_stime for usage in own),
        (user + nice + system + irq + softirq) / tick,
        steal / tick,
    )


def kvm() -> str:
    """Returns `hardware`, `software`, or `none` if /dev/kvm is missing or can't be opened."""
    try:
        with System() as system:
            return "hardware" if unsupported_instruction(system) is None else "software"
    except RingletError:
        return "none"


def _processor() -> tuple[str, bool]:
    """Returns the processor's name, and whether it reports a hypervisor."""
    try:
        with open("/proc/cpuinfo") as file:
            first = file.read(1 << 20).partition("\n\n")[0]
    except OSError:
        first = ""
    facts = {}
    for line in first.splitlines():
        key, _, value = line.partition(":")
        facts[key.strip()] = value.strip()
    return facts.get("model name", "unknown"), "hypervisor" in facts.get("flags", "").split()


def _dmi(name: str) -> str:
    """Returns the firmware's field `name`, or an empty text if there is none."""
    try:
        with open(f"/sys/class/dmi/id/{name}", errors="replace") as file:
            return file.read(1 << 10).strip()
    except OSError:
        return ""
