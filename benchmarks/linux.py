"""A stock Linux kernel, from the start of its machine to the first line of its init."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from stat import S_IFCHR, S_IFREG
from typing import IO, NamedTuple

from measure import RINGLET, Row, qemu, seconds

from ringlet.emulated.installed_kernel import InstalledKernel, cache, kernels_under
from ringlet.linux.cpio import Entry, write

ROUNDS = 5
PACKAGE = "linux-image-cloud-amd64"
LINE = b"init is here"
MEMORY_MIB = 256
CONSOLES = {"quiet": "console=ttyS0 panic=-1 quiet", "whole log": "console=ttyS0 panic=-1"}

# A process that is already running. It makes and runs a machine for each line that it reads, with
# standard output as its serial line, and then says when each step was over.
SERVER = """
import json, sys
from ringlet.machine.config import MachineConfig
from ringlet.machine.machine import Machine
for line in sys.stdin:
    with Machine(MachineConfig(**json.loads(line), serial=(None, 1))) as machine:
        machine.run()
    steps = "vm_created", "image_loaded", "first_exit", "first_output", "end"
    print(json.dumps([getattr(machine.timings, step) for step in steps]), file=sys.stderr)
"""
STEPS = (
    "make the machine",
    "load the kernel",
    "to the first exit",
    "to the first output",
    "to the end",
)

# What a part of the whole process costs: processes that do no more than that.
PARTS = {
    "Python alone": "pass",
    "Python, import click": "import click",
    "Python, import ringlet's modules": "import ringlet.cli.foreground, ringlet.boot.linux",
}


class Boot(NamedTuple):
    """What is booted, by whichever of them."""

    kernel: str
    initrd: str
    cmdline: str

    def ringlet(self) -> list[str]:
        """As a command of ringlet's."""
        return [RINGLET, "boot", self.kernel, "--initrd", self.initrd, "--cmdline", self.cmdline]

    def qemu(self) -> list[str] | None:
        """In QEMU's microvm: with its RTC, which the kernel would wait for, and with its ACPI."""
        return qemu(
            self.kernel,
            *("-initrd", self.initrd, "-append", self.cmdline),
            machine="microvm,pic=off,pit=off,rtc=on",
            cpu="host",
            memory=MEMORY_MIB,
        )


class Server:
    """A process of `SERVER`."""

    def __init__(self, stack: ExitStack) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", SERVER]
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        self._process = stack.enter_context(process)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._input, self._output, self._report = process.stdin, process.stdout, process.stderr
        stack.callback(self._input.close)

    def boot(self, boot: Boot) -> tuple[float, list[float]]:
        """Milliseconds to the line, and of each of `STEPS`."""
        config = {"image": boot.kernel, "initrd": boot.initrd, "cmdline": boot.cmdline}
        start = time.monotonic_ns()
        self._input.write(json.dumps(config | {"memory": MEMORY_MIB << 20}).encode() + b"\n")
        self._input.flush()
        line = _until_line(self._output)
        report = self._report.readline()
        try:
            times = [start, *json.loads(report)]
        except ValueError:
            raise SystemExit((report + self._report.read()).decode()) from None
        steps = [(b - a) / 1e6 for a, b in pairwise(times)]
        return (line - start) / 1e6, steps


def _until_line(output: IO[bytes]) -> int:
    """When the line was there: CLOCK_MONOTONIC in nanoseconds."""
    seen = b""
    while LINE not in seen:
        data = os.read(output.fileno(), 1 << 16)
        if not data:
            raise SystemExit(f"init never came:\n{seen.decode(errors='replace')}")
        seen += data
    return time.monotonic_ns()


def _process(command: list[str]) -> float:
    """Milliseconds from the start of `command` to the line."""
    start = time.monotonic_ns()
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, stdin=null, stdout=pipe, stderr=null) as process:
        assert process.stdout is not None
        return (_until_line(process.stdout) - start) / 1e6


def _build_initrd(folder: Path) -> str:
    """init.c, and the console that it writes to."""
    init = folder / "init"
    source = Path(__file__).with_name("init.c")
    options = ["-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-s"]
    subprocess.run(["gcc", *options, "-o", init, source], check=True)
    entries = {
        "dev/console": Entry(S_IFCHR | 0o600, device=(5, 1)),
        "init": Entry(S_IFREG | 0o755, init.read_bytes()),
    }
    with open(folder / "initrd", "wb") as out:
        write(out, entries)
    return str(folder / "initrd")


def set_up_kernel() -> InstalledKernel:
    """The stock kernel that `ringlet nested --setup` has fetched."""
    kernel = next(kernels_under(cache() / PACKAGE), None)
    if kernel is None:
        raise SystemExit(
            f"no kernel to boot: name one with --kernel, or `ringlet nested --setup --package "
            f"{PACKAGE}`"
        )
    return kernel


def measure(kernel: str | None = None) -> list[Row]:
    """To the first line of a stock Linux's init: at most 0.9 times QEMU's time, 1.25 as a command.

    QEMU's machine is its microvm. The same bzImage and vmlinux (its payload), initrd, command
    line, 256 MiB, one vCPU, and a pipe that is read here. The first is from `Machine(config)` in
    a process that is already running, the second from the start of `ringlet boot`; QEMU's is
    from its start.
    """
    bzimage = kernel or str(set_up_kernel().vmlinuz)
    samples: dict[str, list[float]] = {}

    def note(what: str, took: float) -> None:
        samples.setdefault(what, []).append(took)

    with ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="ringlet-bench-")
        folder = Path(stack.enter_context(temporary))
        initrd = _build_initrd(folder)
        cache = folder / "cache"
        os.environ["XDG_CACHE_HOME"] = str(cache)
        server = Server(stack)
        server.boot(Boot(bzimage, initrd, CONSOLES["quiet"]))  # it imports, and fills the cache
        vmlinux = str(folder / "vmlinux")
        (payload,) = (cache / "ringlet" / "kernels").iterdir()
        shutil.copyfile(payload, vmlinux)
        kernels = {"bzImage": bzimage, "vmlinux": vmlinux}
        boots = {
            f"{name}, {console}": Boot(path, initrd, line)
            for name, path in kernels.items()
            for console, line in CONSOLES.items()
        }
        for _ in range(ROUNDS):
            for what, boot in boots.items():
                took, steps = server.boot(boot)
                note(what, took)
                for step, part in zip(STEPS, steps, strict=True):
                    note(f"  {what}: {step}", part)
                if (command := boot.qemu()) is not None:
                    note(f"{what}, QEMU", _process(command))
                note(f"{what}, a command", _process(boot.ringlet()))
            shutil.rmtree(cache)
            _, steps = server.boot(Boot(bzimage, initrd, CONSOLES["quiet"]))
            note("  bzImage, decompressed: load the kernel", steps[1])
            for part, program in PARTS.items():
                note(f"  {part}", seconds([sys.executable, "-c", program]) * 1e3)
    rows = []
    for what in boots:
        theirs = samples.pop(f"{what}, QEMU", [])
        for kind, limit in (what, 0.9), (f"{what}, a command", 1.25):
            bound = limit if theirs else None
            rows.append(Row(kind, "ms", samples.pop(kind), "QEMU", theirs, limit=bound))
    return rows + [Row(part, "ms", took) for part, took in samples.items()]
