"""xv6 for x86, a teaching kernel that knows no ACPI, runs a command on two processors.

XV6 names a folder with its source, https://github.com/mit-pdos/xv6-public.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ringlet import Machine, MachineConfig

LONG = 600  # seconds, on a machine that is emulated and busy
CFLAGS = (
    "-fno-pic -static -fno-builtin -fno-strict-aliasing -O2 -MD -m32 -fno-omit-frame-pointer "
    "-fno-stack-protector -fno-pie -no-pie"
)


@pytest.fixture
def xv6(tmp_path: Path) -> Path:
    """The kernel with its file system in memory."""
    source = os.environ.get("XV6")
    if source is None:
        pytest.skip("needs the source of xv6 for x86, in the folder that XV6 names")
    folder = tmp_path / "xv6"
    shutil.copytree(source, folder)
    command = ["make", "-s", "kernelmemfs", "TOOLPREFIX=", f"CFLAGS={CFLAGS}"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "kernelmemfs"


def test_xv6_reaches_its_shell_and_lists_its_files(xv6: Path) -> None:
    config = MachineConfig(image=xv6, memory=256 << 20, cpus=2, timeout=LONG)
    with Machine(config) as machine:
        machine.start()
        boot = machine.serial.read_until(b"$ ")
        assert b"cpu1: starting 1" in boot
        assert b"init: starting sh" in boot
        machine.serial.write(b"ls\n")
        assert b"README         2 2 2286" in machine.serial.read_until(b"2286")
