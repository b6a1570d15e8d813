"""What others in a container do to `start`, `exec` and `create`: these wait for none of it.

Others hold the pipes of a process that they see, take or write its reports, or stop it.
"""

import contextlib
import os
import select
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.launch import helper, launch
from ringlet.container.launch.description import Execution
from ringlet.container.launch.helper import Launched, LaunchError
from ringlet.container.spec.config_json import check
from ringlet.container.state import HostProcess

from ..box import Box

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox]


def holds(box: Box, made: Launched, flags: int, name: str) -> int:
    """A descriptor of a FIFO, as a process has it that came in: from the init."""
    for fd in os.listdir(f"/proc/{made.pid}/fd"):
        path = f"/proc/{made.pid}/fd/{fd}"
        if os.readlink(path) == str(box.folder / name):
            return os.open(path, flags | os.O_NONBLOCK)
    raise AssertionError(f"the init has no {name}")


def test_a_start_doesnt_wait_for_who_holds_its_reports(box: Box) -> None:
    made = box.create("sleep 1000")
    held = holds(box, made, os.O_RDWR, "report")
    box.start()
    os.close(held)
    assert box.alive(made)


def test_nor_does_one_that_fails(box: Box) -> None:
    program = box.rootfs / "bin/gone"
    program.write_bytes((box.rootfs / "bin/busybox").read_bytes())
    program.chmod(0o755)
    box.process["args"] = ["gone"]
    made = box.create()
    program.unlink()
    held = holds(box, made, os.O_RDWR, "report")
    with pytest.raises(LaunchError) as caught:
        box.start()
    assert caught.value.status == 127
    os.close(held)


def test_nor_for_who_takes_its_reports(box: Box) -> None:
    made = box.create("sleep 1000")
    held = holds(box, made, os.O_RDONLY, "report")
    taken = threading.Event()

    def take() -> None:
        select.select([held], [], [])
        while not taken.is_set():
            with contextlib.suppress(BlockingIOError):
                os.read(held, 100)

    thread = threading.Thread(target=take)
    thread.start()
    box.start()
    taken.set()
    thread.join()
    os.close(held)
    assert box.alive(made)


def test_nor_for_who_writes_reports_without_end(box: Box) -> None:
    made = box.create("sleep 1000")
    held = holds(box, made, os.O_RDWR, "report")
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            with contextlib.suppress(BlockingIOError):
                os.write(held, b"S")

    thread = threading.Thread(target=write)
    thread.start()
    box.start()
    ended.set()
    thread.join()
    os.close(held)
    assert box.alive(made)


@pytest.mark.parametrize("hooks", [False, True])
def test_nor_for_ever_for_an_init_that_others_have_stopped(
    box: Box, monkeypatch: pytest.MonkeyPatch, hooks: bool
) -> None:
    monkeypatch.setattr(helper, "ANSWER_SECONDS", 0.3)
    if hooks:
        box.config["hooks"] = {"startContainer": [{"path": "/bin/true"}]}
    made = box.create("sleep 1000")
    os.kill(made.pid, signal.SIGSTOP)
    with pytest.raises(LaunchError, match="another process has stopped it"):
        box.start()
    assert box.alive(made)
    assert list(box.folder.iterdir()) == []


def test_a_hook_of_the_images_may_take_longer(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "ANSWER_SECONDS", 0.3)
    box.config["hooks"] = {"startContainer": [{"path": "/bin/sleep", "args": ["sleep", "1"]}]}
    assert box.run("echo ran") == "ran\n"


def come_in(box: Box, made: Launched, monkeypatch: pytest.MonkeyPatch, meets: Any) -> Launched:
    """A process comes in, and `meets` is called with its id while others may see it."""
    go, pids = helper._go, list[int]()
    opened = os.pidfd_open

    def open_pid(pid: int) -> int:
        pids.append(pid)
        return opened(pid)

    def later(orders: int) -> None:
        if pids:
            meets(pids[-1])
        go(orders)

    monkeypatch.setattr(os, "pidfd_open", open_pid)
    monkeypatch.setattr(helper, "_go", later)
    config = check(box.config)
    execution = Execution(HostProcess(made.pid), config, config["process"], cgroup=None)
    came = launch.execute(execution)
    monkeypatch.undo()
    box.running.append(came)
    return came


@pytest.mark.parametrize("floods", [False, True])
def test_exec_doesnt_wait_for_who_holds_the_reports_of_its_process(
    box: Box, monkeypatch: pytest.MonkeyPatch, floods: bool
) -> None:
    made = box.create("sleep 1000")
    box.start()
    held: list[int] = []
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            with contextlib.suppress(BlockingIOError):
                os.write(held[0], b"X")

    thread = threading.Thread(target=write)

    def hold(pid: int) -> None:
        for fd in range(3, 20):
            info = Path(f"/proc/{pid}/fdinfo/{fd}")
            if info.exists() and int(info.read_text().split("flags:")[1].split()[0], 8) & 3:
                break
        pipe = f"/proc/{pid}/fd/{fd}"
        assert os.readlink(pipe).startswith("pipe:")
        held.append(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))
        if floods:
            thread.start()

    came = come_in(box, made, monkeypatch, hold)
    assert box.alive(came)
    ended.set()
    if floods:
        thread.join()
    os.close(held[0])


def test_nor_for_ever_for_one_that_others_have_stopped(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = box.create("sleep 1000")
    box.start()
    monkeypatch.setattr(helper, "ANSWER_SECONDS", 0.3)
    with pytest.raises(LaunchError, match="another process in the container has stopped it"):
        come_in(box, made, monkeypatch, lambda pid: os.kill(pid, signal.SIGSTOP))


def test_nor_does_create_in_a_joined_namespace_of_process_ids(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = box.create("sleep 1000")
    for one in box.linux["namespaces"]:
        if one["type"] == "pid":
            one["path"] = f"/proc/{first.pid}/ns/pid"
    box.folder = box.folder.with_name("two")
    box.folder.mkdir()
    monkeypatch.setattr(helper, "ANSWER_SECONDS", 0.3)
    seen: list[int] = []

    def stop(pid: int) -> None:
        seen.append(pid)
        if len(seen) == 2:  # after the helper, the init: others see it from now on
            os.kill(pid, signal.SIGSTOP)

    with pytest.raises(LaunchError, match="another process in the container has stopped it"):
        box.create("sleep 1000", on_runtime=stop)
