"""`ringlet boot hello`, the whole process."""

import json
import sys
import time

from measure import QEMU_STATUS, RINGLET, Row, guest, qemu, run, seconds

ROUNDS = 30

# What a part of it costs: processes that do no more than that.
PARTS = {
    "Python alone": "pass",
    "Python, import click": "import click",
    "Python, import ringlet's modules": "import ringlet.cli.foreground",
}


def _steps() -> dict[str, float]:
    """Milliseconds of each step of one run with --json, which goes through click."""
    start = time.monotonic_ns()
    output = run([RINGLET, "boot", "hello", "--json"], env={"RINGLET_START_NS": str(start)})
    whole = (time.monotonic_ns() - start) / 1e6
    at = {step: second * 1e3 for step, second in json.loads(output)["timings"].items()}
    return {
        "--json: to a machine": at["vm_created"],
        "--json: load the image": at["image_loaded"] - at["vm_created"],
        "--json: to the first exit": at["first_exit"] - at["image_loaded"],
        "--json: run the guest": at["end"] - at["first_exit"],
        "--json: close, report, end": whole - at["end"],
    }


def measure() -> list[Row]:
    """From an installed wheel, at most as long as QEMU's microvm with the same image; aim 0.8.

    Both have /dev/null to read and a pipe to write to. An option that isn't plain costs the
    import of click, which is reported.
    """
    command = qemu(guest("hello"))
    ours: list[float] = []
    option: list[float] = []
    theirs: list[float] = []
    parts: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        ours.append(seconds([RINGLET, "boot", "hello"]) * 1e3)
        if command is not None:
            theirs.append(seconds(command, status=QEMU_STATUS) * 1e3)
        option.append(seconds([RINGLET, "boot", "hello", "--cpus", "1"]) * 1e3)
        for part, program in PARTS.items():
            parts.setdefault(part, []).append(seconds([sys.executable, "-c", program]) * 1e3)
        for step, took in _steps().items():
            parts.setdefault(step, []).append(took)
    rows = [
        Row("whole process", "ms", ours, "QEMU", theirs, limit=1.0, aim=0.8),
        Row("with an option for click", "ms", option, "QEMU", theirs),
    ]
    if not theirs:
        rows = [Row("whole process", "ms", ours), Row("with an option for click", "ms", option)]
    return rows + [Row(f"  {part}", "ms", took) for part, took in parts.items()]
