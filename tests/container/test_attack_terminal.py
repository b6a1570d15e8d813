"""A container that has its starter's terminal puts no words into the starter's mouth."""

import errno
import os
import pty
import sys
from pathlib import Path

import pytest

from .rootfs import add_call, make_rootfs

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_busybox,
    pytest.mark.needs_cgroups,
    pytest.mark.needs_gcc,
]

IOCTL, TIOCSTI = 16, 0x5412
LEGACY = Path("/proc/sys/dev/tty/legacy_tiocsti")  # 1: the kernel lets who has the terminal do it


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    rootfs = make_rootfs(tmp_path / "rootfs")
    add_call(rootfs)
    return rootfs


def status_on_a_terminal(words: list[str]) -> int:
    """Of a program whose terminal, and session, are new."""
    pid, master = pty.fork()
    if not pid:
        os.execv(words[0], words)
    try:
        while os.read(master, 1024):
            pass
    except OSError:  # its last user has ended
        pass
    os.close(master)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


HANDED_OVER = """
import sys
from ringlet.host.workload import Workload
from ringlet.container.container import Container
with Container(Workload(rootfs=sys.argv[1], command=sys.argv[2:])) as container:
    sys.exit(container.run().status)
"""
# Standard output is the starter's terminal, where it is handed over.
TYPES = ["sh", "-c", f"call {IOCTL} 1 {TIOCSTI} x; exit $(($? + 40))"]


def test_it_types_nothing_into_the_terminal_that_it_was_started_on(rootfs: Path) -> None:
    """CVE-2017-5226 (bubblewrap): by TIOCSTI the shell got a command to run afterwards."""
    words = [sys.executable, "-c", HANDED_OVER, str(rootfs), *TYPES]
    assert status_on_a_terminal(words) - 40 in (errno.EPERM, errno.EIO)


def test_nor_has_it_that_terminal(rootfs: Path) -> None:
    run = [sys.executable, "-c", "from ringlet.cli import main; main()", "run", "--no-tty"]
    assert status_on_a_terminal([*run, str(rootfs), "--", *TYPES]) - 40 == errno.ENOTTY


@pytest.mark.skipif(
    LEGACY.exists() and LEGACY.read_text().strip() == "0", reason="this kernel refuses it to all"
)
def test_in_the_starters_session_it_would(rootfs: Path) -> None:
    call = str(rootfs / "bin/call")
    assert status_on_a_terminal([call, str(IOCTL), "0", str(TIOCSTI), "x"]) == 0
