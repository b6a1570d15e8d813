"""A system call of a traced container: what the trace adds, beside strace and perf trace."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from measure import RINGLET, Row, run

ROUNDS = 9
CALLS = 5_000  # at 10 to 90 us each

# The program of each tracer, and how it begins; the traced program's own words follow.
TRACERS = {
    "strace -f": ["strace", "-f", "-o", os.devnull],
    "perf trace": ["perf", "trace", "-o", os.devnull],
}
TRACES = {
    "a call, its trace in words": ["--output", os.devnull],
    "a call, its trace as JSON lines": ["--json", "--output", os.devnull],
    "a call, the summary alone": ["--summary", "--output", os.devnull],
    "a call, in a trace of another call": ["--call", "uname", "--output", os.devnull],
}


def _microseconds(command: list[str]) -> float:
    """How long one call takes the program, as it prints."""
    return int(run([*command, str(CALLS)])) / 1e3


def measure() -> list[Row]:
    """What a trace adds to a system call, as the traced program sees it."""
    with tempfile.TemporaryDirectory(prefix="ringlet-bench-") as folder:
        source = Path(__file__).with_name("calls.c")
        program = f"{folder}/calls"
        os.mkdir(f"{folder}/dev")
        subprocess.run(["gcc", "-O2", "-static", "-o", program, source], check=True)
        commands = {"none": [program], "a container": [RINGLET, "run", folder, "/calls"]}
        for name, options in TRACES.items():
            commands[name] = [RINGLET, "trace", *options, "--", "run", folder, "/calls"]
        for name, words in TRACERS.items():
            if shutil.which(words[0]):
                commands[name] = [*words, program]
        samples: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                samples[name].append(_microseconds(command))
    plain = samples["none"]
    rows = [
        Row("a call, not traced, in a container", "us", samples["a container"], "a process", plain)
    ]
    rows += [
        Row(what, "us", samples[what], name, samples[name])
        for what in TRACES
        for name in TRACERS
        if name in samples
    ]
    return rows
