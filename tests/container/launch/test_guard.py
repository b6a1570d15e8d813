"""Containers end with the process that made them, whatever it and they do."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ringlet.container.launch import guard
from ringlet.container.launch.helper import LaunchError
from ringlet.container.launch.plan import Plan

from ...leftovers import cgroups, is_alive
from ...until import until
from ..rootfs import make_rootfs

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox]

# Makes containers of the commands that are its arguments, and shows their processes.
MAKER = """
import sys, threading, time
sys.path[:0] = {path!r}
from ringlet import Container, Workload

def make(command):
    containers.append(Container(Workload(rootfs=sys.argv[1], command=["sh", "-c", command])))
    if command != "waits":
        containers[-1].start()

containers = []
for command in sys.argv[2:]:
    thread = threading.Thread(target=make, args=(command,))  # which ends before the container
    thread.start()
    thread.join()
print(*(container.pid for container in containers), flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rootfs(tmp_path_factory.mktemp("guard") / "rootfs")


@pytest.fixture(autouse=True)
def _a_killed_process_leaves_no_cgroup() -> Iterator[None]:
    before = cgroups("ringlet-run-")
    yield
    until(lambda: not cgroups("ringlet-run-") - before)


class Maker:
    """A process that has made containers of `commands`, whose processes are `pids`."""

    def __init__(self, rootfs: Path, *commands: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", MAKER.format(path=sys.path), rootfs, *commands],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.pids = [int(word) for word in self._process.stdout.readline().split()]

    def __enter__(self) -> "Maker":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def wait_until_none_is_alive(pids: list[int]) -> None:
    until(lambda: not any(map(is_alive, pids)))


def test_containers_end_with_their_maker(rootfs: Path) -> None:
    # An idle one, one whose program has become another user, one that waits for its start.
    with Maker(rootfs, "sleep 600", "exec su user -c 'exec sleep 600'", "waits") as maker:
        assert len(maker.pids) == 3
        folder = Path(f"/proc/{maker.pids[1]}")
        user = int((folder / "uid_map").read_text().split()[1]) + 1000
        until(lambda: f"Uid:\t{user}\t" in (folder / "status").read_text())
        assert all(map(is_alive, maker.pids))
        maker.kill()
        wait_until_none_is_alive(maker.pids)


def test_no_other_container_ends_with_it(rootfs: Path) -> None:
    with Maker(rootfs, "sleep 600") as one, Maker(rootfs, "sleep 600") as other:
        one.kill()
        wait_until_none_is_alive(one.pids)
        assert all(map(is_alive, other.pids))
    wait_until_none_is_alive(other.pids)


def test_nothing_that_they_changed_of_their_root_is_left(rootfs: Path) -> None:
    before = sorted(rootfs.rglob("*"))
    with Maker(rootfs, "rm -r /home; touch /made /etc/made; exec sleep 600") as maker:
        until(lambda: Path(f"/proc/{maker.pids[0]}/comm").read_text() == "sleep\n")
        maker.kill()
        wait_until_none_is_alive(maker.pids)
    assert sorted(rootfs.rglob("*")) == before


def guard_of_this_process() -> int:
    """It holds the descriptor of this process, a moment after it has been started."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for path in Path("/proc").glob("[0-9]*/fdinfo/1"):
            with suppress(OSError):
                if f"\nPid:\t{os.getpid()}\n" in path.read_text():
                    return int(path.parts[2])
    raise AssertionError("there is no guard")


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_guard_that_was_killed_has_a_successor(is_busy: bool) -> None:
    child = subprocess.Popen(["sleep", "600"])
    try:
        guard.watch(child.pid)
        first = guard_of_this_process()
        if is_busy:  # so that what it was given last is never read
            os.kill(first, signal.SIGSTOP)
            guard.watch(child.pid)
        os.kill(first, signal.SIGKILL)
        wait_until_none_is_alive([first])
        guard.watch(child.pid)
        assert guard_of_this_process() != first
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_a_guard_that_dies_while_it_is_made_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Plan.encode

    def die(self: Plan) -> tuple[bytes, int]:
        self._lines.insert(1, "die")
        return real(self)

    monkeypatch.setattr(guard, "_guard", None)
    monkeypatch.setattr(Plan, "encode", die)
    with pytest.raises(LaunchError, match="ended too early"):
        guard.watch(os.getpid())


def test_a_forked_process_has_a_guard_of_its_own() -> None:
    guard.watch(os.getpid())
    ours = guard_of_this_process()
    with guard._lock:  # as another thread may have it at this moment
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            guard.watch(os.getpid())
            os._exit(guard_of_this_process() == ours)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_the_guard_is_no_child_that_a_program_would_have_to_wait_for() -> None:
    guard.watch(os.getpid())
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("times", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_at_any_moment_a_run_leaves_neither_process_nor_cgroup(
    rootfs: Path, times: int
) -> None:
    words = [sys.executable, "-c", "from ringlet.cli import main; main()"]
    words += ["run", str(rootfs), "--", "sleep", "600.125"]
    for _ in range(times):
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        time.sleep(random.random() * 0.5)
        process.kill()
        process.wait()
    # The fixture waits until there is no cgroup.


def test_of_many_containers_the_guard_removes_all_cgroups(rootfs: Path) -> None:
    before = cgroups("ringlet-run-")
    with Maker(rootfs, *["sleep 600"] * 5) as maker:
        assert len({path.name for path in cgroups("ringlet-run-") - before}) == 5
        maker.kill()
        wait_until_none_is_alive(maker.pids)
