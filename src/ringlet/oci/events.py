"""`events`: prints a container's resource usage and its out-of-memory kills as lines of JSON.

Each object has runc's format: type, id, and for "stats" the data.

Source: runc-events(8); containerd/go-runc, events.go.
"""

from __future__ import annotations

import os
from select import POLLIN, POLLPRI, poll
from time import monotonic

from ringlet.container.fast_json import dumps
from ringlet.container.state import StateError
from ringlet.oci.options import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ringlet.container.runtime import Runtime

_LOOKS, _LOOK = 20, 0.05  # times, seconds
_MOST = 7 * 86400.0  # seconds; poll() takes 24 days at most
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def show(runtime: Runtime, id: str, interval: str, *, once: bool) -> None:
    """Prints events until the container's end; with `once`, prints the usage once.

    Raises StateError, OptionError, CgroupError.
    """
    seconds = _seconds(interval)
    container = runtime.store.look(id)
    status = runtime.status(container)
    cgroup, init = runtime.cgroup(container), container.init
    if cgroup is None:
        raise StateError(f"container {id} has no cgroup", "run it where it may have one")
    if init is None or status == "stopped":
        raise StateError(f"container {id} not running", "`state` shows what it is")
    if once:
        _print("stats", id, cgroup.stats())
        return
    end = os.pidfd_open(init.pid)
    oom, kills = cgroup.oom_fd(), cgroup.oom_kills()
    try:
        waiting = poll()
        waiting.register(end, POLLIN)
        if oom is not None:
            waiting.register(oom, POLLIN | POLLPRI)
        due = monotonic()
        looks = 0  # left to take: cgroup v1 notifies before it counts the kill
        while init.alive:
            if monotonic() >= due:
                _print("stats", id, cgroup.stats())
                due += seconds
            wait = max(0.0, due - monotonic())
            ready = [fd for fd, _ in waiting.poll(min(wait, _LOOK if looks else wait) * 1000)]
            if oom is not None and oom in ready:
                _read(oom)
                looks = _LOOKS
            if looks:
                looks -= 1
                before, kills = kills, cgroup.oom_kills()
                for _ in range(kills - before):
                    _print("oom", id)
    finally:
        os.close(end)
        if oom is not None:
            os.close(oom)


def _read(oom: int) -> None:
    """Reads `oom`, so that it isn't ready again before the next out-of-memory event."""
    try:
        os.pread(oom, 4096, 0)  # cgroup version 2: a file
    except OSError:
        try:
            os.read(oom, 8)  # version 1: an eventfd
        except BlockingIOError:
            return


def _print(kind: str, id: str, data: dict[str, Any] | None = None) -> None:
    event: dict[str, Any] = {"type": kind, "id": id}
    if data is not None:
        event["data"] = data
    print(dumps(event), flush=True)


def _seconds(text: str) -> float:
    """Returns the seconds that `text` means, such as 500ms, 5s or 1m; a bare number is seconds."""
    number = text.rstrip("hms")
    unit = _UNITS.get(text[len(number) :] or "s")
    try:
        seconds = float(number) * unit if unit is not None else 0.0
    except ValueError:
        seconds = 0.0
    if not 0.001 <= seconds <= _MOST:
        raise OptionError(
            f"--interval {text}: no time, or more than a week", "such as 500ms, 5s or 1m"
        )
    return seconds
