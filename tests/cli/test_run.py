"""`ringlet run`: a command in a container, from the command line."""

import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ..container.rootfs import make_rootfs
from ..leftovers import cgroups
from .command import ENVIRONMENT, RINGLET, Running, refused, run

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox]


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rootfs(tmp_path_factory.mktemp("run") / "rootfs")


def test_streams_and_status_are_the_commands(rootfs: Path) -> None:
    done = run("run", rootfs, "--", "sh", "-c", "cat; echo why >&2; exit 7", stdin=None, input="in")
    assert (done.stdout, done.stderr, done.returncode) == ("in", "why\n", 7)


def test_options_are_the_containers(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    (tmp_path / "data/file").write_text("of the host\n")
    options = [
        "--volume", f"{tmp_path}/data:/data:ro", "--env", "A=1", "--workdir", "/data",
        "--user", "user", "--hostname", "box", "--memory", "64M", "--pids", "9", "--read-only",
    ]  # fmt: skip
    script = "pwd; cat file; echo $A; id -un; hostname"
    done = run("run", rootfs, *options, "--", "sh", "-c", script)
    assert done.stdout == "/data\nof the host\n1\nuser\nbox\n", done.stderr


FORMS = {
    "rootfs first": ["ROOTFS", "ls", "-ld", "/"],
    "dashes": ["ROOTFS", "--", "ls", "-ld", "/"],
    "options first": ["--hostname", "box", "ROOTFS", "ls", "-ld", "/"],
    "options after": ["ROOTFS", "--hostname", "box", "ls", "-ld", "/"],
    "options and dashes": ["ROOTFS", "--hostname=box", "--", "ls", "-ld", "/"],
    "on both sides": ["--env", "A=1", "ROOTFS", "--no-tty", "ls", "-ld", "/"],
    "dashes twice": ["--", "ROOTFS", "--", "ls", "-ld", "/"],
}


@pytest.mark.parametrize("words", FORMS.values(), ids=FORMS)
def test_what_stands_after_the_command_is_the_commands(rootfs: Path, words: list[str]) -> None:
    done = run("run", *[str(rootfs) if word == "ROOTFS" else word for word in words])
    assert done.stdout.startswith("drwx"), done
    assert done.stdout.endswith(" /\n")


def test_an_option_of_the_commands_may_be_called_as_one_of_ours(rootfs: Path) -> None:
    done = run("run", rootfs, "echo", "--json", "--", "--volume")
    assert done.stdout == "--json -- --volume\n", done.stderr


def test_what_is_written_is_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    rootfs = make_rootfs(tmp_path / "rootfs")
    path = tmp_path / "run.toml"
    path.write_text('rootfs = "rootfs"\ncommand = ["touch", "/by-key"]\nwrite = true\n')
    for words in ([rootfs, "touch", "/lost"], ["--write", rootfs, "touch", "/by-option"]):
        assert run("run", *words).returncode == 0
    assert run("run", "--config", path).returncode == 0
    found = set(os.listdir(rootfs)) & {"lost", "by-option", "by-key"}
    assert found == {"by-option", "by-key"}


def test_a_command_that_cant_be_run(rootfs: Path) -> None:
    absent = run("run", rootfs, "--", "absent")
    assert (absent.returncode, "absent" in absent.stderr) == (127, True)
    assert run("run", rootfs, "--", "/etc/passwd").returncode == 126


@pytest.mark.parametrize("limit", [5, 6, 7, 8, 12, 20, 40, 64, 70])
def test_too_few_descriptors_are_told(rootfs: Path, limit: int) -> None:
    descriptors = (limit, limit)
    done = run(
        "run", rootfs, "true",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, descriptors),
    )  # fmt: skip
    assert done.returncode == 125
    assert done.stderr.startswith(f"ringlet: RLIMIT_NOFILE is {limit}: to start a process takes ")
    assert done.stderr.count("\n") == 2


def test_json_reports_on_standard_output_alone(rootfs: Path) -> None:
    done = run("run", rootfs, "--json", "--", "sh", "-c", "echo hello; exit 3")
    report = json.loads(done.stdout)
    assert report["exit"] == {"reason": "exit", "status": 3}
    assert done.stderr == "hello\n"
    assert report["timings"]["end"] > report["timings"]["started"] > 0
    failed = run("run", rootfs, "--json", "--", "absent")
    assert json.loads(failed.stdout)["exit"] == {"reason": "error", "status": 127}


def test_a_timeout_is_status_124(rootfs: Path) -> None:
    done = run("run", rootfs, "--timeout", "0.3", "--", "sleep", "100")
    assert (done.returncode, "stopped after 0.3 seconds" in done.stderr) == (124, True)


@pytest.mark.needs_cgroups
def test_memory_that_runs_out_is_told(rootfs: Path) -> None:
    script = "x=x; while :; do x=$x$x; done"
    done = run("run", rootfs, "--memory", "16M", "--", "sh", "-c", script)
    assert (done.returncode, "ran out of memory" in done.stderr) == (137, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_the_command(rootfs: Path, number: signal.Signals) -> None:
    script = f"trap 'exit 9' {number.name[3:]}; echo ready; while :; do sleep 0.01; done"
    with subprocess.Popen(
        [*RINGLET, "run", rootfs, "--", "sh", "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(60) == 9


def ready(rootfs: Path, *options: str, traps: str = ":") -> Running:
    """`ringlet run` of a shell that waits, and handles the signals as `traps` says."""
    script = f"{traps}; echo ready; while :; do sleep 0.01; done"
    running = Running("run", *options, rootfs, "sh", "-c", script, stdin=subprocess.DEVNULL)
    running.read_until(b"ready\n")
    return running


@pytest.mark.parametrize("traps", [":", "trap '' TERM"])
def test_a_command_that_doesnt_end_by_sigterm_is_killed(rootfs: Path, traps: str) -> None:
    with ready(rootfs, "--stop-timeout", "0.5", traps=traps) as running:
        asked = time.monotonic()
        running.process.terminate()
        assert running.status() == 137
        assert time.monotonic() - asked > 0.4
        said = running.complain(b"--stop-timeout\n").decode()
        assert "killed: it went on for 0.5 seconds" in said


def test_a_command_may_take_its_time_to_end(rootfs: Path) -> None:
    with ready(rootfs, traps="trap 'sleep 0.3; exit 9' TERM") as running:
        running.process.terminate()
        assert running.status() == 9
        assert running.process.stderr is not None
        assert running.process.stderr.read() == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_kills(rootfs: Path, number: signal.Signals) -> None:
    with ready(rootfs, traps="trap '' INT TERM") as running:
        running.process.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            running.process.wait(0.3)
        running.process.send_signal(number)
        assert running.status() == 137


def test_sighup_may_come_often_where_there_is_no_terminal(rootfs: Path) -> None:
    with ready(rootfs, "--stop-timeout", "0.1", traps="trap 'echo again' HUP") as running:
        for _ in range(3):
            running.process.send_signal(signal.SIGHUP)
            running.read_until(b"again\n")
            time.sleep(0.1)
        running.process.send_signal(signal.SIGTERM)
        assert running.status() == 137


def test_a_file_says_what_options_dont(rootfs: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f'rootfs = "{rootfs}"\ncommand = ["hostname"]\nhostname = "of-the-file"\n')
    assert run("run", "--config", path).stdout == "of-the-file\n"
    assert run("run", "--config", path, "--hostname", "other").stdout == "other\n"


def test_what_cant_be_is_refused_in_one_line(rootfs: Path, tmp_path: Path) -> None:
    assert "no rootfs" in refused(run("run"))
    assert "no command" in refused(run("run", rootfs))
    assert "debootstrap" in run("run", tmp_path / "absent", "sh").stderr
    assert "debootstrap" in run("run", "--help").stdout
    assert "absent" in refused(run("run", tmp_path / "absent", "--", "sh"))
    assert "volume" in refused(run("run", rootfs, "--volume", "x", "--", "sh"))
    assert "size" in refused(run("run", rootfs, "--memory", "much", "--", "sh"))
    assert "nobody" in refused(run("run", rootfs, "--user", "nobody", "--", "sh"))


def test_nothing_is_left_in_the_cgroups(rootfs: Path) -> None:
    before = cgroups("ringlet-run-")
    assert run("run", rootfs, "--", "true").returncode == 0
    assert cgroups("ringlet-run-") <= before
