"""How a test waits for what comes by itself, on a host that may be busy."""

import time
from collections.abc import Callable
from pathlib import Path

LONG = 120  # seconds: what hasn't come by then never comes


def until(condition: Callable[[], object]) -> None:
    """Waits for `condition` to hold."""
    end = time.monotonic() + LONG
    pause = 0.0005
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(pause)
        pause = min(2 * pause, 0.02)


def is_asleep(pid: int, thread: int | None = None) -> bool:
    """Whether a thread waits for something: the main one of the process, if none is named."""
    folder = Path(f"/proc/{pid}/task/{thread or pid}")
    before = (folder / "schedstat").read_text()
    if (folder / "stat").read_text().rpartition(")")[2].split()[0] != "S":
        return False
    time.sleep(0.03)
    return (folder / "schedstat").read_text() == before  # it has used no nanosecond


def until_asleep(pid: int, thread: int | None = None) -> None:
    """Waits until it waits."""
    until(lambda: is_asleep(pid, thread))
