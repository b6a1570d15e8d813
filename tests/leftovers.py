"""What tests look for when nothing of a container may be left."""

import os
from pathlib import Path


def cgroups(part: str) -> set[Path]:
    """Those with `part` in their name, of all hierarchies; some may go while it looks."""
    return {
        Path(folder, name)
        for folder, folders, _ in os.walk("/sys/fs/cgroup")
        for name in folders
        if part in name
    }
