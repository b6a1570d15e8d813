"""A signal that ends `ringlet` at any time: its own status, no traceback, nothing left."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ..container.rootfs import make_rootfs
from ..leftovers import cgroups
from .command import ENVIRONMENT

SCRIPT = Path(__file__).parents[2] / "scripts" / "ringlet"

# It tells when it has begun: what is before is the interpreter's.
PROGRAM = f"""
import _signal, os
_signal.signal(_signal.SIGINT, _signal.SIG_DFL)
os.write(1, b".")
exec(compile(open({str(SCRIPT)!r}).read(), {str(SCRIPT)!r}, "exec"), {{"__name__": "__main__"}})
"""
ENDING = (signal.SIGINT, signal.SIGTERM)


def interrupt(
    words: list[str], seconds: float, left: Callable[[], object], times: int, *, also: int = 0
) -> None:
    """Ends `ringlet WORDS` after up to `seconds`; then `left` finds nothing of it.

    `also` is one more status that such an end may have.
    """
    for _ in range(times):
        number = random.choice(ENDING)
        wait = random.random() * seconds
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            process.stdout.read(1)
            time.sleep(wait)
            process.send_signal(number)
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
        assert b"Traceback" not in said, (wait, said)
        assert b"Exception ignored" not in said, (wait, said)
        assert process.returncode in (0, -number, 128 + number, also), (wait, said)
        assert not left(), (wait, process.returncode)


def _boot(tmp_path: Path, times: int) -> None:
    interrupt(["boot", "hello"], 0.15, lambda: None, times)
    interrupt(["boot", "hello", "--cpus", "1", "--json"], 0.3, lambda: None, times)


def _initramfs(tmp_path: Path, times: int) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_bytes(bytes(32 << 20))
    out = tmp_path / "out"
    out.mkdir()

    def left() -> list[str]:
        (out / "image").unlink(missing_ok=True)
        return os.listdir(out)

    interrupt(["initramfs", "--folder", str(folder), str(out / "image")], 0.4, left, times)


def _run(tmp_path: Path, times: int) -> None:
    rootfs = make_rootfs(tmp_path / "rootfs")

    before = cgroups("ringlet-run-")

    def left() -> set[Path]:
        return cgroups("ringlet-run-") - before

    killed = 128 + signal.SIGKILL  # what the second signal does to a command that ignores the first
    interrupt(["run", str(rootfs), "--", "true"], 0.4, left, times, also=killed)
    words = ["run", str(rootfs), "--json", "--", "sleep", "0.1"]
    interrupt(words, 0.4, left, times, also=killed)


def _compare(tmp_path: Path, times: int) -> None:
    words = ["compare", "--quick", "--ways", "process", "--measure", "startup"]
    out = tmp_path / "out"
    out.mkdir()

    def left() -> list[str]:
        (out / "report.json").unlink(missing_ok=True)
        return os.listdir(out)

    interrupt([*words, "--json", str(out / "report.json")], 1.0, left, times)


CASES = [
    pytest.param(_boot, marks=pytest.mark.needs_kvm),
    _initramfs,
    pytest.param(_run, marks=[pytest.mark.needs_root, pytest.mark.needs_busybox]),
    _compare,
]


@pytest.mark.parametrize("case", CASES)
def test_a_signal_at_some_times_leaves_nothing(
    tmp_path: Path, case: Callable[[Path, int], None]
) -> None:
    case(tmp_path, 3)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_signal_at_many_times_leaves_nothing(
    tmp_path: Path, case: Callable[[Path, int], None]
) -> None:
    case(tmp_path, 30)
