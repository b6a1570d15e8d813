"""A root for containers: busybox, with a link for each of its programs."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

BUSYBOX = "/bin/busybox"


@cache
def _applets() -> list[str]:
    done = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split() if name != "busybox"]


def make_rootfs(path: Path) -> Path:
    """A small system in the folder `path`."""
    for folder in ("bin", "etc", "tmp", "proc", "sys", "dev", "root", "home"):
        (path / folder).mkdir(parents=True)
    (path / "tmp").chmod(0o1777)
    shutil.copy2(BUSYBOX, path / "bin/busybox")
    for name in _applets():
        os.link(path / "bin/busybox", path / "bin" / name)  # ext4 makes symbolic links slowly
    (path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n")
    (path / "etc/group").write_text("root:x:0:\nuser:x:1000:\nother:x:7:user\n")
    return path


def add_call(rootfs: Path) -> Path:
    """`call`, a program that makes one system call: call.c. It takes gcc."""
    here = Path(__file__).parent
    flags = [
        "-ffreestanding",
        "-fno-stack-protector",
        "-fno-pie",
        "-nostdlib",
        "-static",
        "-no-pie",
    ]
    helper = here.parents[1] / "csrc/container"
    sources = (here / "call.c", helper / "bare_x86_64.c")
    call = rootfs / "bin/call"
    subprocess.run(["gcc", "-Os", *flags, f"-I{helper}", *sources, "-o", call], check=True)
    return call
