"""An ext4 image: made, checked and read on the host's side, by the tools of e2fsprogs."""

import hashlib
import os
import subprocess
from pathlib import Path

from ringlet.linux.initramfs import find_busybox

# Only root's PATH has them.
ENVIRONMENT = os.environ | {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
APPLETS = ("sh", "cat", "cp", "dd", "mount", "poweroff", "sha256sum", "sleep", "sync")
LONG = 60  # seconds


def _tool(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=LONG
    )


def make(image: Path, tree: Path, size: str = "32M") -> Path:
    """A file system of what is in `tree`."""
    result = _tool("mke2fs", "-q", "-t", "ext4", "-d", tree, image, size)
    assert result.returncode == 0, result
    return image


def add_busybox(tree: Path) -> None:
    """What a command needs of its root."""
    for folder in ("bin", "sbin", "dev", "proc", "run", "sys"):
        (tree / folder).mkdir(parents=True)
    (tree / "bin" / "busybox").write_bytes(find_busybox().read_bytes())
    (tree / "bin" / "busybox").chmod(0o755)
    for applet in APPLETS:
        (tree / "bin" / applet).symlink_to("busybox")


def assert_sound(image: Path) -> None:
    """There is nothing to repair."""
    result = _tool("e2fsck", "-fn", image)
    assert result.returncode == 0, result


def assert_clean(image: Path) -> None:
    """It is as sound as after an umount: there is no journal to replay either."""
    assert_sound(image)
    header = _tool("dumpe2fs", "-h", image).stdout
    assert "needs_recovery" not in header
    assert "state:         clean\n" in header


def replay_journal(image: Path) -> None:
    result = _tool("e2fsck", "-y", "-E", "journal_only", image)
    assert result.returncode in (0, 1), result


def read(image: Path, into: Path) -> Path:
    """The folder `into`, with a copy of all that there is."""
    into.mkdir()
    result = _tool("debugfs", "-R", f"rdump / {into}", image)
    assert result.returncode == 0, result
    return into


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
