"""Many machines in one process, one after another and at once: nothing may stay behind."""

import gc
import json
import os
import resource
import sys
import time

from measure import Row, run

from ringlet.machine.config import MachineConfig
from ringlet.machine.machine import Machine

SEQUENTIAL = 1000
ALIVE = 200


def _in_use() -> dict[str, float]:
    gc.collect()
    with open("/proc/self/maps") as maps:
        mappings = len(maps.readlines())
    with open("/proc/self/statm") as statm:
        resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "mappings": mappings,
        "resident": resident / (1 << 20),
    }


def _one_after_another(count: int) -> float:
    """Milliseconds for each, from made to closed."""
    start = time.perf_counter()
    for _ in range(count):
        with Machine(MachineConfig(image="hello", serial="none")) as machine:
            machine.run()
    return (time.perf_counter() - start) * 1e3 / count


def _at_once(count: int) -> float:
    """Milliseconds for each, from made to closed. Each guest waits for input on its serial line."""
    start = time.perf_counter()
    machines = [Machine(MachineConfig(image="echo")) for _ in range(count)]
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.serial.read(1)  # it is up and says so
    for machine in machines:
        machine.stop()
        machine.close()
    return (time.perf_counter() - start) * 1e3 / count


def _main() -> None:
    """In a process of its own: no memory that was freed before may hide what stays behind."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for _ in range(3):  # to warm up: the allocators map their arenas for the most there was
        _one_after_another(ALIVE)
        _at_once(ALIVE)
    before = _in_use()
    took = [_one_after_another(SEQUENTIAL), _at_once(ALIVE)]
    after = _in_use()
    growth = {what: after[what] - before[what] for what in before}
    print(json.dumps({"took": took, "growth": growth}))


def measure() -> list[Row]:
    """1,000 one after another, then 200 alive at once: no growth afterwards.

    None in descriptors, threads and mappings, and less than 1 MiB in resident memory.
    """
    result = json.loads(run([sys.executable, __file__]))
    growth = result["growth"]
    rows = [
        Row(f"growth: {what}", "", [growth[what]], limit=0)
        for what in ("descriptors", "threads", "mappings")
    ]
    rows.append(Row("growth: resident memory", "MiB", [growth["resident"]], limit=1))
    rows.append(Row(f"each of {SEQUENTIAL}, one after another", "ms", [result["took"][0]]))
    rows.append(Row(f"each of {ALIVE} alive at once", "ms", [result["took"][1]]))
    return rows


if __name__ == "__main__":
    _main()
