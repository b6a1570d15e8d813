"""A machine's start, in a process that is already running."""

import json
import time

from measure import MEMORY_MIB, Row, build_baseline, guest, run

from ringlet.machine.config import MachineConfig
from ringlet.machine.machine import Machine

ROUNDS = 20
MACHINES = 20  # in each


def _first_exit(config: MachineConfig) -> float:
    """Milliseconds from the call that makes a machine to its guest's first exit."""
    start = time.monotonic_ns()
    with Machine(config) as machine:
        machine.run()
        assert machine.timings.first_exit is not None
        return (machine.timings.first_exit - start) / 1e6


def measure() -> list[Row]:
    """From `Machine(config)` to the first exit of `hello`: at most 1.3 times bare C.

    Bare C starts with the open of /dev/kvm and issues the same ioctls. Both ask for the host's
    CPUID once, for a first machine that isn't counted.
    """
    command = [build_baseline(), "--memory", str(MEMORY_MIB), "--bench-start"]
    command += ["--repeat", str(1 + MACHINES), guest("hello")]
    configs = {
        "first exit": MachineConfig(image="hello", serial="none"),
        "first exit, serial on pipes": MachineConfig(image="hello"),
    }
    samples: dict[str, list[float]] = {what: [] for what in configs}
    bare: list[float] = []
    for config in configs.values():
        _first_exit(config)
    for _ in range(ROUNDS):
        bare += [second * 1e3 for second in json.loads(run(command))["seconds"][1:]]
        for what, config in configs.items():
            samples[what] += [_first_exit(config) for _ in range(MACHINES)]
    limits = dict(zip(configs, [1.3, None], strict=True))  # bare C has no pipes
    return [Row(what, "ms", samples[what], "bare C", bare, limit=limits[what]) for what in configs]
