"""The init as process 1 of a stock kernel: what its command finds, and its serial lines."""

import os
import subprocess
from pathlib import Path

from ..cli.command import ENVIRONMENT, RINGLET

LONG = 240  # seconds: the machine that this runs in is slow

SYSTEM = """
mount | cut -d' ' -f3
readlink -f /dev/stdin >/dev/null && echo streams
ping -c 1 127.0.0.1 >/dev/null && echo loopback
lsmod | cut -d' ' -f1
(sleep 0.1 &); sleep 1; cat /proc/[0-9]*/stat | grep -c ') Z '
"""


def run(kernel: Path, script: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*RINGLET, "boot", kernel, "--exec", script],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=LONG,
        env=ENVIRONMENT,
    )


def test_a_command_finds_a_system(cloud_kernel: Path) -> None:
    result = run(cloud_kernel, SYSTEM)
    lines = result.stdout.decode().splitlines()
    mounts = {"/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/run", "/sys/fs/cgroup"}
    assert mounts < set(lines), result
    assert {"streams", "loopback", "pvpanic_mmio"} < set(lines), result
    assert lines[-1] == "0", result  # what its parent has left is reaped


def test_serial_lines_carry_any_bytes(cloud_kernel: Path) -> None:
    data = os.urandom(5000) + b"\x10\x04\x11\x13\x03" * 100
    result = run(cloud_kernel, "tee /dev/stderr; exit 9", data)
    assert result.returncode == 9
    assert result.stdout == data
    assert result.stderr == data
