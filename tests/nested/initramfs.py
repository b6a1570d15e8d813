"""An initramfs of a static busybox, a script as its init, and whatever else a test needs."""

import io
import stat
from collections.abc import Iterable
from pathlib import Path

from ringlet.linux.cpio import FOLDER, Entry, write
from ringlet.linux.initramfs import find_busybox

HEADER = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
"""
PROGRAM = stat.S_IFREG | 0o755


def initramfs(script: str, modules: Iterable[Path] = ()) -> bytes:
    """`script` runs with every command of busybox; `modules` lie in /modules."""
    entries = dict.fromkeys(("proc", "sys", "dev", "modules"), FOLDER)
    entries["bin/busybox"] = Entry(PROGRAM, find_busybox().read_bytes())
    entries["init"] = Entry(PROGRAM, (HEADER + script).encode())
    for module in modules:
        entries[f"modules/{module.name}"] = Entry(stat.S_IFREG | 0o644, module.read_bytes())
    archive = io.BytesIO()
    write(archive, entries)
    return archive.getvalue()
