"""What the benchmarks share: samples and rows of the table, yardsticks, facts about the host."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import ringlet
from ringlet.machine.guests import find_image

MEMORY_MIB = 64  # of every guest: ringlet's default
RINGLET = str(Path(sys.executable).parent / "ringlet")


class Row(NamedTuple):
    """One line of the table. A value is in `unit`; the samples hold one for each round.

    What `limit` and `aim` bound is the ratio to the yardstick's median, with `difference` the
    difference from it, and the median itself where there is no yardstick.
    """

    what: str
    unit: str
    sample: Sequence[float]
    yardstick: str = ""
    yardstick_sample: Sequence[float] = ()
    difference: bool = False
    limit: float | None = None
    aim: float | None = None

    @property
    def compared(self) -> float:
        """What `limit` and `aim` bound."""
        value = median(self.sample)
        if not self.yardstick_sample:
            return value
        other = median(self.yardstick_sample)
        return value - other if self.difference else value / other

    @property
    def verdict(self) -> str:
        """Whether it is as promised; empty where nothing is."""
        if self.limit is not None and self.compared > self.limit:
            return "MISSED"
        if self.aim is not None and self.compared > self.aim:
            return "aim missed" if self.limit is None else "held, aim missed"
        return "" if self.limit is None and self.aim is None else "held"


def guest(name: str) -> str:
    """The path of a guest that comes with the ringlet under test."""
    return find_image(name)


def build_baseline() -> str:
    """Compiles baseline.c; the path of the program, in a folder that goes with this process."""
    folder = tempfile.TemporaryDirectory(prefix="ringlet-bench-")
    _folders.append(folder)
    program = os.path.join(folder.name, "baseline")
    source = Path(__file__).with_name("baseline.c")
    subprocess.run(["gcc", "-O2", "-o", program, source], check=True)
    return program


_folders: list["tempfile.TemporaryDirectory[str]"] = []


def qemu(
    image: str,
    *options: str,
    machine: str = "microvm,pic=off,pit=off,rtc=off",
    cpu: str = "qemu64",
    memory: int = MEMORY_MIB,
) -> list[str] | None:
    """The command that boots `image` in QEMU's microvm; None where QEMU isn't installed."""
    program = shutil.which("qemu-system-x86_64")
    if program is None:
        return None
    return [
        program,
        *("-M", f"{machine},isa-serial=on"),
        *("-nodefaults", "-no-user-config", "-accel", "kvm", "-cpu", cpu),
        *("-m", str(memory), "-display", "none", "-serial", "stdio", "-no-reboot"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=1"),
        *("-kernel", image, *options),
    ]


def run(command: Sequence[str], *, status: int = 0, env: dict[str, str] | None = None) -> str:
    """Runs `command` to its end, which must be of this status. Its standard output."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=None if env is None else os.environ | env,
    )
    if done.returncode != status:
        raise SystemExit(f"{' '.join(command)}: status {done.returncode}\n{done.stderr}")
    return done.stdout


def seconds(command: Sequence[str], *, status: int = 0) -> float:
    """How long `command` takes from its start to its end."""
    start = time.perf_counter()
    run(command, status=status)
    return time.perf_counter() - start


QEMU_STATUS = 1  # isa-debug-exit makes 2 * n + 1 of the guest's n


def host_facts() -> dict[str, str]:
    """What the numbers depend on."""
    cpuinfo = {
        key.strip(): value.strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        for key, colon, value in [line.partition(":")]
        if colon
    }
    hardware = {"vmx", "svm"} & set(cpuinfo["flags"].split())
    folder = os.path.dirname(ringlet.__file__)
    installed = os.path.basename(os.path.dirname(folder)) == "site-packages"
    program = shutil.which("qemu-system-x86_64")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "ringlet": folder if installed else f"{folder}, not installed: starts slower than a wheel",
        "kvm": "hardware" if hardware else "software",
        "cpu": f"{os.cpu_count()} x {cpuinfo['model name']}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "qemu": run([program, "--version"]).split()[3] if program else "not installed: skipped",
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.2f}"


def _sample(values: Sequence[float]) -> tuple[str, str]:
    if not values:
        return "", ""
    if len(values) == 1:
        return _number(values[0]), ""
    return _number(median(values)), f"{_number(min(values))} .. {_number(max(values))}"


def _compared(row: Row, value: float | None) -> str:
    if value is None:
        return ""
    if not row.yardstick_sample:
        return _number(value)
    return f"{value:+.2f}" if row.difference else f"{value:.2f} x"


def table(sections: dict[str, list[Row]]) -> str:
    """All of it as aligned text, a block for each benchmark."""
    head = ["", "unit", "ringlet", "min .. max", "yardstick", "", "min .. max"]
    lines = [[*head, "compared", "limit", "aim", ""]]
    for name, rows in sections.items():
        lines.append([])
        for row in rows:
            compared = _compared(row, row.compared) if row.yardstick_sample else ""
            lines.append(
                [
                    f"{name:8}{row.what}",
                    row.unit,
                    *_sample(row.sample),
                    row.yardstick,
                    *_sample(row.yardstick_sample),
                    compared,
                    _compared(row, row.limit),
                    _compared(row, row.aim),
                    row.verdict,
                ]
            )
            name = ""
    widths = [max(len(line[i]) for line in lines if line) for i in range(len(lines[0]))]
    left = {0, 1, 4, 10}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=False))
        ).rstrip()
        for line in lines
    )
