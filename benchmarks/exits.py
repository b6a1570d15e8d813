"""An exit of the guest, handled by a device in Python."""

import json
import subprocess
import tempfile
from pathlib import Path
from threading import Event, Thread

from measure import MEMORY_MIB, QEMU_STATUS, Row, build_baseline, guest, qemu, run, seconds

from ringlet.machine.config import MachineConfig
from ringlet.machine.machine import Machine

ROUNDS = 40  # many and short: a shared host drifts
EXITS = 10_000
BUSY_EXITS = 2_000
MMIO_ADDRESS = 0xD000_0000  # as in mmio.S
QEMU_EXITS = (2_000, 42_000)  # their difference leaves QEMU's own start out


def _microseconds(machine: Machine) -> float:
    """For each exit, from the first to the end of the run."""
    result = machine.run()
    timings = machine.timings
    assert timings.first_exit is not None
    assert timings.end is not None
    return (timings.end - timings.first_exit) / 1e3 / (sum(result.exits.values()) - 1)


def _round_trip(exits: int) -> float:
    config = MachineConfig(image="ports", cmdline=f"count={exits}", serial="none")
    with Machine(config) as machine:
        return _microseconds(machine)


class _Register:
    """The least that a device can do."""

    def read(self, offset: int, size: int) -> int:
        return 0xFFFF_FFFF

    def write(self, offset: int, size: int, value: int) -> None:
        pass


def _build_mmio_guest(folder: str) -> str:
    image = f"{folder}/mmio"
    source = Path(__file__).with_name("mmio.S")
    options = [f"-DCOUNT={EXITS // 2}", "-nostdlib", "-static", "-no-pie", "-Wl,-e,start"]
    subprocess.run(["gcc", *options, "-o", image, source], check=True)
    return image


def _round_trip_mmio(image: str) -> float:
    with Machine(MachineConfig(image=image, serial="none")) as machine:
        machine.add_mmio_device(MMIO_ADDRESS, 0x1000, _Register())
        return _microseconds(machine)


def _round_trip_bare(baseline: str, image: str) -> float:
    command = [baseline, "--memory", str(MEMORY_MIB), "--cmdline", f"count={EXITS}"]
    result = json.loads(run([*command, "--bench-exits", image]))
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

    The aim is QEMU's own figure, a device in C. Reported are reads and writes of MMIO, and port
    I/O with another thread of Python busy, which a returning vCPU has to wait for.
    """
    baseline = build_baseline()
    with tempfile.TemporaryDirectory(prefix="ringlet-bench-") as folder:
        return _measure(baseline, _build_mmio_guest(folder))


def _measure(baseline: str, mmio_guest: str) -> list[Row]:
    ours: list[float] = []
    bare: list[float] = []
    theirs: list[float] = []
    busy: list[float] = []
    mmio: list[float] = []
    bare_mmio: list[float] = []
    for _ in range(ROUNDS):
        bare.append(_round_trip_bare(baseline, guest("ports")))
        ours.append(_round_trip(EXITS))
        if (took := _round_trip_qemu()) is not None:
            theirs.append(took)
        busy.append(_round_trip_busy())
        bare_mmio.append(_round_trip_bare(baseline, mmio_guest))
        mmio.append(_round_trip_mmio(mmio_guest))
    rows = [Row("port I/O", "us", ours, "bare C", bare, difference=True, limit=0.7)]
    if theirs:
        rows.append(Row("", "us", ours, "QEMU", theirs, aim=1.0))
    rows.append(Row("MMIO", "us", mmio, "bare C", bare_mmio, difference=True))
    rows.append(Row("another thread busy", "us", busy, "not busy", ours))
    return rows
