"""Processes in a container's cgroup."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ringlet.container.cgroups import Cgroup

JOIN = 'while [ "$1" != -- ]; do echo 0 >"$1" || exit 99; shift; done; shift; exec "$@"'
PYTHON = sys.executable


def command(cgroup: Cgroup, *words: str) -> list[str]:
    """The command line that joins the cgroup and then runs the words."""
    files = cgroup.tasks
    if cgroup.unified is not None:
        files = [*files, f"{cgroup.unified}/cgroup.procs"]
    return ["/bin/sh", "-c", JOIN, "sh", *files, "--", *words]


def run(cgroup: Cgroup, *words: str) -> subprocess.CompletedProcess[str]:
    """What the words say, run in the cgroup."""
    return subprocess.run(
        command(cgroup, *words), capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def running(cgroup: Cgroup, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A process in the cgroup that has said "ready", killed at the end."""
    with subprocess.Popen(command(cgroup, *words), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()
            if cgroup.frozen:
                cgroup.thaw()


def sleeper() -> tuple[str, ...]:
    """Says that it's ready, and sleeps."""
    return ("/bin/sh", "-c", "echo ready; exec sleep 100")


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold, in a minute."""
    for _ in range(6000):
        if holds():
            return True
        time.sleep(0.01)
    return False


def folders(cgroup: Cgroup) -> list[str]:
    """Those of the cgroup that exist."""
    of = {*cgroup.version_1.values(), *filter(None, [cgroup.unified])}
    return sorted(filter(os.path.exists, of))
