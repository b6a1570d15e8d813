"""What it costs to trace a guest's exits: the summary alone, and each exit as a line of JSON."""

import os
import tempfile
import time

from measure import QEMU_STATUS, Row, guest, qemu, run

from ringlet.machine.config import MachineConfig
from ringlet.machine.machine import Machine
from ringlet.observe.exits.exit_event import EXITS
from ringlet.observe.exits.tracer import ExitTracer
from ringlet.observe.trace.formats import make
from ringlet.observe.trace.recorder import Recorder

ROUNDS = 30  # many and short: a shared host drifts
EXITS_EACH = 5_000
# Accesses to devices, as QEMU's log has them; their difference leaves QEMU's own start out.
QEMU_TRACE = ("-trace", "memory_region_ops_read", "-trace", "memory_region_ops_write")
QEMU_EXITS = (1_000, 11_000)


def _microseconds(machine: Machine) -> float:
    """For each exit, from the first to the end of the run."""
    result = machine.run()
    timings = machine.timings
    assert timings.first_exit is not None
    assert timings.end is not None
    return (timings.end - timings.first_exit) / 1e3 / (sum(result.exits.values()) - 1)


def _machine() -> Machine:
    return Machine(MachineConfig(image="ports", cmdline=f"count={EXITS_EACH}", serial="none"))


def _untraced() -> float:
    with _machine() as machine:
        return _microseconds(machine)


def _summary() -> float:
    with _machine() as machine:
        tracer = ExitTracer(machine)
        took = _microseconds(machine)
        tracer.finish()
        assert tracer.summary.count > EXITS_EACH
        return took


def _written(format: str, path: str) -> float:
    with _machine() as machine:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        recorder = Recorder(make(format, EXITS, most=EXITS_EACH * 2), fd)
        tracer = ExitTracer(machine, None, recorder.take)
        took = _microseconds(machine)
        tracer.finish()
        recorder.finish(tracer.summary)
        assert recorder.missing == 0
        return took


def _qemu(log: str, *options: str) -> float | None:
    took = []
    for exits in QEMU_EXITS:
        command = qemu(guest("ports"), "-append", f"count={exits}", "-D", log, *options)
        if command is None:
            return None
        start = time.perf_counter()
        run(command, status=QEMU_STATUS)
        took.append(time.perf_counter() - start)
        if options and os.path.getsize(log) < exits:
            raise SystemExit(f"{command} has logged nothing")
    return (took[1] - took[0]) * 1e6 / (QEMU_EXITS[1] - QEMU_EXITS[0])


def measure() -> list[Row]:
    """A write to the UART's scratch register: at most 1.5 us more with the summary, 10 with JSON.

    Beside it, what QEMU's own log of the same accesses costs.
    """
    plain: list[float] = []
    summary: list[float] = []
    written: dict[str, list[float]] = {"json": [], "text": [], "perfetto": []}
    theirs: list[float] = []
    theirs_traced: list[float] = []
    with tempfile.TemporaryDirectory(prefix="ringlet-bench-") as folder:
        path = os.path.join(folder, "trace")
        for _ in range(ROUNDS):
            plain.append(_untraced())
            summary.append(_summary())
            for format, sample in written.items():
                sample.append(_written(format, path))
            if (took := _qemu(path)) is not None:
                theirs.append(took)
                traced = _qemu(path, *QEMU_TRACE)
                assert traced is not None
                theirs_traced.append(traced)
    beside = {"yardstick": "untraced", "yardstick_sample": plain, "difference": True}
    rows = [
        Row("summary alone", "us", summary, **beside, limit=1.5),
        Row("JSON lines", "us", written["json"], **beside, limit=10),
        Row("text", "us", written["text"], **beside),
        Row("Perfetto", "us", written["perfetto"], **beside),
    ]
    if theirs:
        rows.append(Row("QEMU -trace", "us", theirs_traced, "QEMU", theirs, difference=True))
    return rows
