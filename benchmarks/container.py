"""A container, from its configuration to the end of a program that does nothing."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from measure import Row, run
from peaks import peaks

from ringlet.container.container import Container
from ringlet.container.spec.default import default
from ringlet.host.workload import Workload

ROUNDS = 41
WARM_UP = 3
MANY = 500
AT_ONCE = 100
MEMORY_ROUNDS = 7
UNIFIED = "/sys/fs/cgroup/unified"
OCI = str(Path(sys.executable).parent / "ringlet-oci")
RINGLET = str(Path(sys.executable).parent / "ringlet")
TRUE = "int main(void) { return 0; }\n"


def make_bundle(folder: str) -> str:
    """A bundle whose command is a static program that ends at once; its path.

    Its configuration is that of `ringlet-oci spec` without the seccomp filter, for all runtimes:
    bwrap has none, and the making of one is libseccomp's work in runc and crun.
    """
    rootfs = os.path.join(folder, "rootfs")
    os.makedirs(rootfs)
    source = os.path.join(folder, "true.c")
    Path(source).write_text(TRUE)
    subprocess.run(["gcc", "-O2", "-static", "-o", f"{rootfs}/true", source], check=True)
    config = default()
    config["ociVersion"] = "1.0.2"  # no crun of its time knows a later one
    config["process"]["args"] = ["/true"]
    config["process"]["terminal"] = False
    config["process"]["rlimits"] = []
    del config["linux"]["seccomp"]
    Path(folder, "config.json").write_text(json.dumps(config))
    return folder


def _milliseconds(command: Sequence[str]) -> float:
    start = time.perf_counter()
    run(command)
    return (time.perf_counter() - start) * 1e3


def _turns(commands: dict[str, list[str]]) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(WARM_UP + ROUNDS):
        for name, command in commands.items():
            took = _milliseconds(command)
            if number >= WARM_UP:
                samples[name].append(took)
    return samples


def _sums(commands: dict[str, list[str]]) -> dict[str, list[float]]:
    """Of the peaks of all that a command starts, but for the container's own, in MiB."""
    samples: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(MEMORY_ROUNDS):
        for name, command in commands.items():
            samples[name].append(sum(peaks(command, "true")))
    return samples


def _without_unified(commands: dict[str, list[str]]) -> list[dict[str, list[float]]] | None:
    """Times and memory where the second version of cgroups isn't mounted beside the first.

    crun knows no such host; for it, one like that is made in a mount namespace, which this file
    enters as a program before it measures.
    """
    if not os.path.ismount(UNIFIED):
        return None
    return json.loads(
        run(
            [
                *("unshare", "--mount", "--propagation", "private"),
                *("sh", "-c", f'umount {UNIFIED} && exec "$@"', "sh"),
                *(sys.executable, __file__, json.dumps(commands)),
            ]
        )
    )


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


def _in_process(rootfs: str) -> tuple[float, float]:
    """Milliseconds to the command's end, and until all that was made is gone."""
    start = time.perf_counter()
    with Container(Workload(rootfs=rootfs, command=["/true"])) as container:
        result = container.run()
        end = time.perf_counter()
    if result.status:
        raise SystemExit(f"the container ended with {result.status}")
    return (end - start) * 1e3, (time.perf_counter() - start) * 1e3


def _growth(rootfs: str) -> Row:
    def used() -> int:
        return len(os.listdir("/proc/self/fd")) + len(Path("/proc/self/mountinfo").read_text())

    _in_process(rootfs)
    before = used()
    for _ in range(MANY):
        _in_process(rootfs)
    with ExitStack() as stack:
        config = Workload(rootfs=rootfs, command=["/true"])
        containers = [stack.enter_context(Container(config)) for _ in range(AT_ONCE)]
        for container in containers:
            container.start()
        for container in containers:
            container.wait()
    return Row(f"growth after {MANY}, then {AT_ONCE} at once", "", [used() - before], limit=0)


def _compared(
    ours: str, samples: dict[str, list[float]], what: str, unit: str, **limits: float
) -> list[Row]:
    """A row for each rival; the limits are for runc."""
    rows = []
    for rival in ("runc", "crun", "bwrap"):
        if rival in samples:
            bounds = limits if rival == "runc" else {}
            rows.append(Row(what, unit, samples[ours], rival, samples[rival], **bounds))
            what = ""
    return rows


def measure() -> list[Row]:
    """`ringlet-oci run` at most 1.2 times as long as runc, in less memory; as root."""
    if os.geteuid():
        print("container: left out, it takes root", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory() as folder:
        bundle = make_bundle(folder)
        rootfs = os.path.join(bundle, "rootfs")
        ours, name = "ringlet-oci", f"bench-{os.getpid()}"
        oci = {
            name_of: [program, "run", "--bundle", bundle, name]
            for name_of, program in ((ours, OCI), ("runc", "runc"), ("crun", "crun"))
            if shutil.which(program)
        }
        here = {key: command for key, command in oci.items() if _works(command)}
        whole = dict(here)
        if shutil.which("bwrap"):
            whole["bwrap"] = ["bwrap", "--unshare-all", "--bind", rootfs, "/", "/true"]
        mapped = [RINGLET, "run", rootfs, "--", "/true"]
        if _works(mapped):
            whole["ringlet run"] = mapped
        samples = _turns(whole)
        rows = _compared(ours, samples, "whole process", "ms", limit=1.2, aim=1.0)
        if "ringlet run" in whole:
            what = "`ringlet run`, whole process"
            rows.append(Row(what, "ms", samples["ringlet run"], ours, samples[ours]))
        rows += _compared(ours, _sums(here), "sum of peaks of memory", "MiB", limit=1.0)
        if "crun" in oci and "crun" not in here and (elsewhere := _without_unified(oci)):
            times, sums = elsewhere
            where = "without the unified hierarchy"
            rows += _compared(ours, times, f"{where}, whole process", "ms")
            rows += _compared(ours, sums, f"{where}, sum of peaks", "MiB")
        steps: dict[str, list[float]] = {}
        theirs: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            _steps(OCI, bundle, steps)
            if "runc" in whole:
                _steps("runc", bundle, theirs)
        for step, sample in steps.items():
            rows.append(Row(step, "ms", sample, "runc", theirs.get(step, [])))
        if "ringlet run" not in whole:
            what = "container: the file system of TMPDIR has no idmapped mounts, so no `Container`"
            print(what, file=sys.stderr)
            return rows
        inside = [_in_process(rootfs) for _ in range(WARM_UP + ROUNDS)][WARM_UP:]
        rows.append(Row("in a running process", "ms", [end for end, _ in inside], limit=5))
        rows.append(Row("the same, and closed", "ms", [closed for _, closed in inside]))
        rows.append(_growth(rootfs))
        return rows


def _works(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps([_turns(given), _sums(given)]))
