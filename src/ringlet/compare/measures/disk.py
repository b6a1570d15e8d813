"""Measures how long it takes to read, to write and to flush a block of a disk.

Source: proc(5), /proc/pid/mountinfo.
"""

from __future__ import annotations

import os
import shlex

from ringlet.compare.instances import Request
from ringlet.compare.instances.work_output import outcomes, value
from ringlet.compare.measures import Found, Row
from ringlet.compare.sentences import compare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ringlet.compare.lab import Lab
    from ringlet.compare.ways import Way

_BLOCK = 4096
# The flushes come before the writes: otherwise they would flush the blocks of the writes as well.
_COUNTS = {"read": 1000, "flush": 50, "write": 1000}
_PAST_CACHE = "past the guest's own cache (O_DIRECT), which would answer from its memory"
_NO_DISK = "the image is in a tmpfs, where nothing is durable; TMPDIR can name a folder on a disk"


class Measure:
    """The time for a block, in microseconds. All ways use one image, in the host's page cache."""

    name = "disk"
    group = "disk"
    rounds = 6
    seconds = 1.0

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._is_in_memory = _is_in_memory(lab.disk)
        self.rows = (
            _row("read", "reading 4 KiB", "Reads"),
            _row("write", "writing 4 KiB", "Writes"),
            _row("flush", "writing 4 KiB durably", "Writes, each with an fdatasync of its own,"),
        )

    def sample(self, way: Way) -> Mapping[str, Found | Exception]:
        """Runs the workload once for all three rows."""
        words = []
        for action, count in _COUNTS.items():
            words += [action, way.disk, str(_BLOCK), str(count)]
            words += ["direct"] if way.own_kernel else []
        request = Request(words, disk=str(self._lab.disk))
        command = shlex.join(way.command(request))
        with open(self._lab.disk, "rb") as disk:
            os.fdatasync(disk.fileno())  # flushes the blocks that the last run wrote
        results = outcomes(way, request, len(_COUNTS))
        return {
            action: Found(
                value(result, "cycles") / self._lab.tsc_hz / count * 1e6,
                note=self._note(way, action),
                command=command,
            )
            for (action, count), result in zip(_COUNTS.items(), results, strict=True)
        }

    def _note(self, way: Way, action: str) -> str | None:
        notes = [_PAST_CACHE] if way.name == "linux-vm" else []
        notes += [_NO_DISK] if action == "flush" and self._is_in_memory else []
        return "; ".join(notes) or None


def _is_in_memory(path: Path) -> bool:
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", errors="replace") as file:
        mounts = [line.partition(" - ") for line in file]
    return any(
        mount.split()[2] == number and kind.startswith(("tmpfs ", "ramfs "))
        for mount, _, kind in mounts
    )


def _row(name: str, title: str, what: str) -> Row:
    return Row(
        name,
        title,
        "us",
        "lower",
        f"{what} of {_COUNTS[name]} blocks of 4 KiB, at places that look random in an image of "
        "64 MiB, one after another, in cycles that the workload counts. The image is in the host's "
        "page cache.",
        lambda medians: compare(medians, "us", title),
        "this KVM emulates a guest's ring 0, and with it the driver of the disk",
    )
