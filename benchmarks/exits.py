"""An exit of the guest, handled by a device in Python."""

import json
from threading import Event, Thread

from measure import MEMORY_MIB, QEMU_STATUS, Row, build_baseline, guest, qemu, run, seconds

from ringlet.config import MachineConfig
from ringlet.machine import Machine

ROUNDS = 40  # many and short: a shared host drifts
EXITS = 10_000
BUSY_EXITS = 2_000
QEMU_EXITS = (2_000, 42_000)  # their difference leaves QEMU's own start out


def _round_trip(exits: int) -> float:
    """Microseconds for each exit, from the first to the end of the run."""
    config = MachineConfig(image="ports", cmdline=f"count={exits}", serial="none")
    with Machine(config) as machine:
        result = machine.run()
        timings = machine.timings
        assert timings.first_exit is not None
        assert timings.end is not None
        return (timings.end - timings.first_exit) / 1e3 / (sum(result.exits.values()) - 1)


def _round_trip_bare(baseline: str) -> float:
    command = [baseline, "--memory", str(MEMORY_MIB), "--cmdline", f"count={EXITS}"]
    result = json.loads(run([*command, "--bench-exits", guest("ports")]))
    return float(result["seconds"]) * 1e6 / (int(result["exits"]) - 1)


def _round_trip_qemu() -> float | None:
    took = []
    for exits in QEMU_EXITS:
        command = qemu(guest("ports"), "-append", f"count={exits}")
        if command is None:
            return None
        took.append(seconds(command, status=QEMU_STATUS))
    return (took[1] - took[0]) * 1e6 / (QEMU_EXITS[1] - QEMU_EXITS[0])


def _round_trip_busy() -> float:
    stop = Event()

    def work() -> None:
        count = 0
        while not stop.is_set():
            for _ in range(1000):
                count += 1

    thread = Thread(target=work)
    thread.start()
    try:
        return _round_trip(BUSY_EXITS)
    finally:
        stop.set()
        thread.join()


def measure() -> list[Row]:
    """A write to the UART's scratch register, round trip: at most 0.7 us over bare C.

    The aim is QEMU's own figure, a device in C. With another thread of Python busy, which a
    returning vCPU has to wait for, it is reported.
    """
    baseline = build_baseline()
    ours: list[float] = []
    bare: list[float] = []
    theirs: list[float] = []
    busy: list[float] = []
    for _ in range(ROUNDS):
        bare.append(_round_trip_bare(baseline))
        ours.append(_round_trip(EXITS))
        if (took := _round_trip_qemu()) is not None:
            theirs.append(took)
        busy.append(_round_trip_busy())
    rows = [Row("port I/O", "us", ours, "bare C", bare, difference=True, limit=0.7)]
    if theirs:
        rows.append(Row("", "us", ours, "QEMU", theirs, aim=1.0))
    rows.append(Row("another thread busy", "us", busy, "not busy", ours))
    return rows
