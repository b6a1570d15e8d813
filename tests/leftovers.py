"""What tests look for when nothing of a container may be left."""

import os
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether this process has not ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def cgroups(part: str) -> set[Path]:
    """Those with `part` in their name, of all hierarchies; some may go while it looks."""
    return {
        Path(folder, name)
        for folder, folders, _ in os.walk("/sys/fs/cgroup")
        for name in folders
        if part in name
    }
