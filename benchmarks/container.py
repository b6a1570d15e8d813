"""A container, from its configuration to the end of a program that does nothing."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from measure import Row, run

from ringlet.container.config import ContainerConfig
from ringlet.container.sandbox import Container
from ringlet.container.spec import default

ROUNDS = 41
WARM_UP = 3
MANY = 500
AT_ONCE = 100
OCI = str(Path(sys.executable).parent / "ringlet-oci")
RINGLET = str(Path(sys.executable).parent / "ringlet")
TRUE = "int main(void) { return 0; }\n"


def make_bundle(folder: str) -> str:
    """A bundle whose command is a static program that ends at once; its path."""
    rootfs = os.path.join(folder, "rootfs")
    os.makedirs(rootfs)
    source = os.path.join(folder, "true.c")
    Path(source).write_text(TRUE)
    subprocess.run(["gcc", "-O2", "-static", "-o", f"{rootfs}/true", source], check=True)
    config = default()
    config["process"]["args"] = ["/true"]
    config["process"]["terminal"] = False
    config["process"]["rlimits"] = []
    Path(folder, "config.json").write_text(json.dumps(config))
    return folder


def _milliseconds(command: Sequence[str]) -> float:
    start = time.perf_counter()
    run(command)
    return (time.perf_counter() - start) * 1e3


def _turns(commands: "dict[str, Callable[[], float]]") -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(WARM_UP + ROUNDS):
        for name, command in commands.items():
            took = command()
            if number >= WARM_UP:
                samples[name].append(took)
    return samples


def _steps(program: str, bundle: str, samples: dict[str, list[float]]) -> None:
    name = f"bench-{os.getpid()}"
    for step, command in {
        "create": [program, "create", "--bundle", bundle, name],
        "start": [program, "start", name],
        "delete": [program, "delete", "--force", name],
    }.items():
        start = time.perf_counter()
        # Its streams go nowhere: the container keeps them.
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
        samples.setdefault(step, []).append((time.perf_counter() - start) * 1e3)


def _in_process(rootfs: str) -> float:
    start = time.perf_counter()
    with Container(ContainerConfig(rootfs=rootfs, command=["/true"])) as container:
        result = container.run()
        took = (time.perf_counter() - start) * 1e3
    if result.status:
        raise SystemExit(f"the container ended with {result.status}")
    return took


def _growth(rootfs: str) -> Row:
    def used() -> int:
        return len(os.listdir("/proc/self/fd")) + len(Path("/proc/self/mountinfo").read_text())

    _in_process(rootfs)
    before = used()
    for _ in range(MANY):
        _in_process(rootfs)
    with ExitStack() as stack:
        config = ContainerConfig(rootfs=rootfs, command=["/true"])
        containers = [stack.enter_context(Container(config)) for _ in range(AT_ONCE)]
        for container in containers:
            container.start()
        for container in containers:
            container.wait()
    return Row(f"growth after {MANY}, then {AT_ONCE} at once", "", [used() - before], limit=0)


def measure() -> list[Row]:
    """`ringlet-oci run` at most 1.2 times as long as runc, the aim 1.0; as root."""
    if os.geteuid():
        print("container: left out, it takes root", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory() as folder:
        bundle = make_bundle(folder)
        rootfs = os.path.join(bundle, "rootfs")
        name = f"bench-{os.getpid()}"
        whole = {"ringlet-oci": [OCI, "run", "--bundle", bundle, name]}
        for rival in ("runc", "crun"):
            if shutil.which(rival):
                command = [rival, "run", "--bundle", bundle, name]
                if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                    whole[rival] = command
        if shutil.which("bwrap"):
            whole["bwrap"] = ["bwrap", "--unshare-all", "--bind", rootfs, "/", "/true"]
        whole["ringlet run"] = [RINGLET, "run", rootfs, "--", "/true"]
        samples = _turns(
            {key: (lambda c=command: _milliseconds(c)) for key, command in whole.items()}
        )
        rows = []
        for rival in ("runc", "crun", "bwrap"):
            if rival in samples:
                limits = {"limit": 1.2, "aim": 1.0} if rival == "runc" else {}
                what = "whole process" if rival == "runc" else ""
                rows.append(
                    Row(what, "ms", samples["ringlet-oci"], rival, samples[rival], **limits)
                )
        rows.append(
            Row(
                "`ringlet run`, whole process",
                "ms",
                samples["ringlet run"],
                "ringlet-oci",
                samples["ringlet-oci"],
            )
        )
        ours: dict[str, list[float]] = {}
        theirs: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            _steps(OCI, bundle, ours)
            if "runc" in whole:
                _steps("runc", bundle, theirs)
        for step, sample in ours.items():
            rows.append(Row(step, "ms", sample, "runc", theirs.get(step, [])))
        inside = [_in_process(rootfs) for _ in range(WARM_UP + ROUNDS)][WARM_UP:]
        rows.append(Row("in a running process", "ms", inside, limit=5))
        rows.append(_growth(rootfs))
        return rows
