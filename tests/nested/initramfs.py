"""An initramfs of a static busybox, a script as its init, and whatever else a test needs.

Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst ("newc").
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

HEADER = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
"""


def initramfs(script: str, modules: Iterable[Path] = ()) -> bytes:
    """`script` runs with every command of busybox; `modules` lie in /modules."""
    busybox = shutil.which("busybox")
    assert busybox is not None, "install busybox-static"
    archive = b"".join(_entry(name, 0o40755) for name in ("bin", "proc", "sys", "dev", "modules"))
    archive += _entry("bin/busybox", 0o100755, Path(busybox).read_bytes())
    archive += _entry("init", 0o100755, (HEADER + script).encode())
    for module in modules:
        archive += _entry(f"modules/{module.name}", 0o100644, module.read_bytes())
    return archive + _entry("TRAILER!!!", 0)


def _entry(name: str, mode: int, data: bytes = b"") -> bytes:
    # ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor,
    # namesize, check
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
