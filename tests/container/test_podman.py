"""podman, with `ringlet-oci` as its runtime: what its users do must be as with any other."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .bundle import Bundle
from .engine import Place, relay_terminal

pytestmark = [pytest.mark.needs_podman, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]

# The limits are those that a user without all of root's rights may set.
LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
LOOP = "trap 'echo term; exit 7' TERM; echo up; while :; do sleep 0.01; done"


class Podman:
    """podman in a place of its own."""

    def __init__(self, folder: Path) -> None:
        self.place = Place(folder)
        self.rootfs = str(Bundle(folder).rootfs)

    def words(self, *words: str) -> list[str]:
        # Short, as podman wants some; and in the place's own /run, so that none of it stays.
        options = ["--root", "/run/root", "--runroot", "/run/run", "--tmpdir", "/run/tmp"]
        options += ["--cgroup-manager", "cgroupfs"]
        options += ["--events-backend", "file", "--storage-driver", "vfs"]
        options += ["--runtime", str(self.place.runtime)]
        return self.place.words("podman", *options, *words)

    def __call__(self, *words: str, **more: Any) -> "subprocess.CompletedProcess[str]":
        more = {"capture_output": True, "text": True, "timeout": 60, "check": False} | more
        return subprocess.run(self.words(*words), **more)

    def run_words(self, *words: str) -> list[str]:
        """`run OPTIONS -- COMMAND`."""
        cut = words.index("--")
        return [
            *["run", "--network", "none", *LIMITS, *words[:cut], "--rootfs", self.rootfs],
            *words[cut + 1 :],
        ]

    def run(self, *words: str, **more: Any) -> "subprocess.CompletedProcess[str]":
        return self(*self.run_words(*words), **more)

    def start(self, *options: str, script: str = LOOP) -> None:
        answer = self.run("-d", "--name", "one", *options, "--", "/bin/sh", "-c", script)
        assert answer.returncode == 0, answer.stderr


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Podman]:
    podman = Podman(tmp_path)
    yield podman
    podman("rm", "--all", "--force", "--time", "0")
    podman.place.close()


def test_run_passes_streams_and_status_through(podman: Podman) -> None:
    script = "cat; echo why >&2; exit 3"
    answer = podman.run("--rm", "-i", "--", "/bin/sh", "-c", script, input="through")
    assert (answer.stdout, answer.stderr, answer.returncode) == ("through", "why\n", 3)


@pytest.mark.parametrize(("command", "status"), [("/absent", 127), ("absent", 127), ("/bin", 126)])
def test_a_command_that_cant_be_run_has_its_status(
    podman: Podman, command: str, status: int
) -> None:
    answer = podman.run("--rm", "--", command)
    assert answer.returncode == status, answer.stderr
    assert command in answer.stderr


def test_exec_passes_streams_and_status_through(podman: Podman) -> None:
    podman.start()
    script = "cat; echo why >&2; exit 4"
    answer = podman("exec", "-i", "one", "/bin/sh", "-c", script, input="through")
    assert (answer.stdout, answer.returncode) == ("through", 4)
    assert answer.stderr.startswith("why\n")
    for command, status in (("/absent", 127), ("absent", 127), ("/bin", 126)):
        answer = podman("exec", "one", command)
        assert answer.returncode == status, answer.stderr
    assert podman("exec", "-u", "7:8", "one", "/bin/id", "-u").stdout == "7\n"


def test_stop_logs_wait_and_rm(podman: Podman) -> None:
    podman.start()
    assert podman("stop", "one").returncode == 0
    assert podman("wait", "one").stdout == "7\n"
    assert podman("logs", "one").stdout == "up\nterm\n"
    assert podman("rm", "one").returncode == 0
    assert podman("ps", "--all", "--quiet").stdout == ""


def test_a_container_that_ignores_its_end_is_killed(podman: Podman) -> None:
    podman.start(script="trap '' TERM; while :; do sleep 0.01; done")
    assert podman("stop", "--time", "1", "one").returncode == 0
    assert podman("wait", "one").stdout == "137\n"


def test_pause_holds_it_and_unpause_lets_it_go(podman: Podman) -> None:
    podman.start()
    assert podman("pause", "one").returncode == 0
    assert "paused" in podman("ps", "--all", "--format", "{{.Status}}").stdout.lower()
    assert podman("exec", "one", "/bin/true").returncode == 255
    assert podman("unpause", "one").returncode == 0
    assert podman("exec", "one", "/bin/true").returncode == 0


def test_a_terminal_is_the_containers(podman: Podman) -> None:
    script = "test -t 0 && read word && echo got $word; exit 6"
    words = podman.run_words("--rm", "-it", "--", "/bin/sh", "-c", f"echo ready; {script}")
    status, seen = relay_terminal(podman.words(*words), [(b"ready", b"word\r")])
    assert status == 6, seen
    assert b"got word\r" in seen


def test_exec_with_a_terminal(podman: Podman) -> None:
    podman.start()
    script = "echo ready; test -t 0 && read word && echo got $word; exit 6"
    words = podman.words("exec", "-it", "one", "/bin/sh", "-c", script)
    status, seen = relay_terminal(words, [(b"ready", b"word\r")])
    assert status == 6, seen
    assert b"got word\r" in seen


def test_a_limit_on_memory_bites(podman: Podman) -> None:
    answer = podman.run("--memory", "16m", "--", "/bin/sh", "-c", "head -c 64m /dev/zero | tail")
    assert answer.returncode != 0
    assert len(answer.stdout) == 0


def test_a_limit_on_processes_bites(podman: Podman) -> None:
    script = "for n in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait"
    answer = podman.run("--pids-limit", "4", "--", "/bin/sh", "-c", script)
    assert "fork" in answer.stderr
    assert podman.run("--rm", "--pids-limit", "40", "--", "/bin/sh", "-c", script).stderr == ""


def test_limits_are_updated_while_it_runs(podman: Podman) -> None:
    podman.start()
    answer = podman("update", "--cpu-shares", "512", "one")
    assert answer.returncode == 0, answer.stderr


def test_users_and_capabilities(podman: Podman) -> None:
    script = "id -u; id -g; id -G; head -n 99 /proc/self/status"
    words = ["--user", "5:6", "--group-add", "9", "--cap-drop", "all", "--cap-add", "CHOWN"]
    answer = podman.run("--rm", *words, "--", "/bin/sh", "-c", script)
    lines = answer.stdout.splitlines()
    assert lines[:3] == ["5", "6", "6 9"], answer.stderr
    status = dict(line.split(":\t") for line in lines[3:] if ":\t" in line)
    assert int(status["CapBnd"], 16) == 1
    assert int(status["CapEff"], 16) == 1
    assert status["NoNewPrivs"] == "0"
    answer = podman.run(
        "--rm", "--security-opt", "no-new-privileges", "--", "/bin/cat", "/proc/self/status"
    )
    assert "NoNewPrivs:\t1" in answer.stdout
    assert "Seccomp:\t2" in answer.stdout


def test_inspect_and_top_see_its_processes(podman: Podman) -> None:
    podman.start()
    (inspected,) = json.loads(podman("inspect", "one").stdout)
    assert inspected["State"]["Status"] == "running"
    assert inspected["OCIRuntime"] == str(podman.place.runtime)
    assert "/bin/sh" in podman("top", "one", "args").stdout


def test_it_is_told_that_it_is_this_runtime(podman: Podman) -> None:
    info = json.loads(podman("info", "--format", "json").stdout)
    assert info["host"]["ociRuntime"]["version"].startswith("ringlet-oci version")
