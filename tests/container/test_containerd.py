"""containerd, by its shim for runc, with `ringlet-oci` in runc's place."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .bundle import Bundle
from .engine import Place, relay_terminal

pytestmark = [pytest.mark.needs_containerd, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]

CONFIG = """
version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{0}/socket"
[ttrpc]
address = "{0}/ttrpc"
"""


class Containerd:
    """containerd in a place of its own."""

    def __init__(self, folder: Path) -> None:
        self.place = Place(folder)
        self.rootfs = str(Bundle(folder).rootfs)
        self.socket = folder / "socket"
        (folder / "config.toml").write_text(CONFIG.format(folder))
        self.daemon = subprocess.Popen(
            self.place.words("containerd", "--config", str(folder / "config.toml")),
            stdout=subprocess.DEVNULL,
            stderr=(folder / "log").open("w"),
        )
        for _ in range(600):
            if self.ctr("version").returncode == 0:
                return
            time.sleep(0.05)
        raise AssertionError((folder / "log").read_text())

    def words(self, *words: str) -> list[str]:
        return self.place.words("ctr", "--address", str(self.socket), *words)

    def ctr(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.words(*words), capture_output=True, text=True, timeout=60, check=False
        )

    def run_words(self, *words: str) -> list[str]:
        cut = words.index("--")
        options = ["--runc-binary", str(self.place.runtime), *words[:cut], "--rootfs", self.rootfs]
        return ["run", *options, "one", *words[cut + 1 :]]

    def close(self) -> None:
        self.daemon.terminate()
        self.daemon.wait(timeout=60)
        self.place.close()


@pytest.fixture
def containerd(tmp_path: Path) -> Iterator[Containerd]:
    containerd = Containerd(tmp_path)
    yield containerd
    containerd.ctr("task", "kill", "--signal", "KILL", "one")
    containerd.ctr("task", "delete", "--force", "one")
    containerd.ctr("container", "delete", "one")
    containerd.close()


def test_run_passes_output_and_status_through(containerd: Containerd) -> None:
    script = "echo hello; echo why >&2; exit 3"
    answer = containerd.ctr(*containerd.run_words("--rm", "--", "/bin/sh", "-c", script))
    assert (answer.stdout, answer.returncode) == ("hello\n", 3), answer.stderr
    assert "why\n" in answer.stderr


def test_a_command_that_isnt_there_is_named(containerd: Containerd) -> None:
    answer = containerd.ctr(*containerd.run_words("--rm", "--", "/absent"))
    assert answer.returncode != 0
    assert "/absent" in answer.stderr


def test_a_task_is_paused_run_into_killed_and_deleted(containerd: Containerd) -> None:
    script = "trap 'exit 7' TERM; while :; do sleep 0.01; done"
    answer = containerd.ctr(*containerd.run_words("--detach", "--", "/bin/sh", "-c", script))
    assert answer.returncode == 0, answer.stderr
    assert "RUNNING" in containerd.ctr("task", "list").stdout
    inside = ["/bin/sh", "-c", "echo inside; exit 4"]
    answer = containerd.ctr("task", "exec", "--exec-id", "two", "one", *inside)
    assert (answer.stdout, answer.returncode) == ("inside\n", 4), answer.stderr
    assert containerd.ctr("task", "pause", "one").returncode == 0
    assert "PAUSED" in containerd.ctr("task", "list").stdout
    assert containerd.ctr("task", "resume", "one").returncode == 0
    assert len(containerd.ctr("task", "ps", "one").stdout.splitlines()) >= 2
    assert containerd.ctr("task", "kill", "one").returncode == 0
    for _ in range(1000):
        if "STOPPED" in containerd.ctr("task", "list").stdout:
            break
        time.sleep(0.01)
    assert "exit code 7" in containerd.ctr("task", "delete", "one").stderr


def test_a_terminal_is_the_containers(containerd: Containerd) -> None:
    script = "echo ready; test -t 0 && read word && echo got $word; exit 6"
    words = containerd.run_words("--rm", "--tty", "--", "/bin/sh", "-c", script)
    status, seen = relay_terminal(containerd.words(*words), [(b"ready", b"word\r")])
    assert status == 6, seen
    assert b"got word\r" in seen
