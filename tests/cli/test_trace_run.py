"""`ringlet trace -- run`: the system calls of a container, from the command line."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ..container.user import User, somebody  # noqa: F401
from ..leftovers import cgroups, is_alive
from ..nested.needs import lacks
from ..observe.traced import make_traced_rootfs
from ..until import until
from .command import CODE, Running, refused, run, wait_until_full
from .console import BOOT, Console, consoles

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_gcc]


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_traced_rootfs(tmp_path_factory.mktemp("trace") / "rootfs")


def json_lines(text: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The events, and the summary."""
    *events, last = map(json.loads, text.splitlines())
    return events, last["summary"]


def test_the_trace_is_on_standard_error_and_the_rest_as_without(rootfs: Path) -> None:
    done = run(
        "trace", "--", "run", rootfs, "--", "sh", "-c", "cat; exit 7", stdin=None, input="in"
    )
    assert (done.stdout, done.returncode) == ("in", 7)
    heading, first, *lines = done.stderr.splitlines()
    assert heading.split() == ["time", "process", "took", "system", "call"]
    assert first.split(maxsplit=4)[4].startswith('execve("/bin/sh", ["sh", "-c", "cat; exit 7"]')
    assert 'write(1, "in", 2) = 2' in done.stderr
    calls = lines[: lines.index("")]
    assert calls[-1].endswith("exit_group(7) = ?")
    assert f"{len(calls) + 1} system calls in " in done.stderr


def test_options_of_the_run_stand_behind_run(rootfs: Path) -> None:
    words = ["--hostname", "box", "--env", "A=1", rootfs, "--user", "user", "--"]
    script = "hostname; echo $A; id -un"
    done = run("trace", "--kind", "network", "--", "run", *words, "sh", "-c", script)
    assert done.stdout == "box\n1\nuser\n", done.stderr
    done = run("trace", "--summary", "--", "run", "--json", rootfs, "echo", "hello")
    assert json.loads(done.stdout)["exit"] == {"reason": "exit", "status": 0}
    assert done.stderr.startswith("hello\n")
    assert done.stderr.splitlines()[1].split()[1:3] == ["system", "calls"]


def test_json_lines_and_their_summary_agree(rootfs: Path) -> None:
    done = run("trace", "--json", "--", "run", rootfs, "caller", "vfork")
    events, summary = json_lines(done.stderr)
    assert summary["count"] == len(events)
    assert summary["missing"] == 0
    (call,) = [event for event in events if event["name"] == "getpgid"]
    assert call.pop("time") > 0
    assert call.pop("took") > 0
    assert call.pop("host") > 0
    assert call == {
        "kind": "process", "process": 2, "thread": 2, "name": "getpgid", "number": 121,
        "arguments": ["0"], "result": 1,
    }  # fmt: skip
    ends = [event for event in events if event["name"] == "exit_group"]
    assert [end["process"] for end in ends] == [2, 1]
    assert all("result" not in end for end in ends)


def test_an_error_has_its_name_and_is_counted(rootfs: Path) -> None:
    done = run("trace", "--json", "--kind", "file", "--errors", "--", "run", rootfs, "cat", "/none")
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if not line.startswith("cat: ")]
    (call,), summary = json_lines("\n".join(lines))
    assert (call["name"], call["result"], call["error"]) == ("openat", -1, "ENOENT")
    assert call["arguments"] == ["AT_FDCWD", '"/none"', "O_RDONLY"]
    assert [(row["name"], row["errors"]) for row in summary["calls"]] == [("openat", 1)]


def test_perfetto_and_the_page_go_to_a_file(rootfs: Path, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    for format in ("perfetto", "html"):
        words = ["trace", "--format", format]
        assert "--output" in run(*words, "--", "run", rootfs, "ls").stderr
        done = run(*words, "--output", path, "--", "run", rootfs, "caller", "threads")
        assert (done.returncode, done.stderr) == (0, "")
        if format == "perfetto":
            slices = [
                one for one in json.loads(path.read_text())["traceEvents"] if one["ph"] == "X"
            ]
            assert len({one["tid"] for one in slices}) == 5  # a track for each thread
            last: dict[int, float] = {}
            for one in slices:  # those of a track don't overlap
                assert one["ts"] >= last.get(one["tid"], 0) - 0.001
                last[one["tid"]] = one["ts"] + one["dur"]
        else:
            assert "getppid" in path.read_text()


def test_what_cant_be_is_refused_in_one_line(rootfs: Path) -> None:
    assert "no rootfs" in refused(run("trace", "--", "run"))
    assert "'opemat'" in refused(run("trace", "--call", "opemat", "--", "run", rootfs, "ls"))
    assert "openat" in run("trace", "--call", "opemat", "--", "run", rootfs, "ls").stderr
    assert "period" in refused(run("trace", "--time", "x", "--", "run", rootfs, "ls"))
    assert "/none/x" in refused(run("trace", "--output", "/none/x", "--", "run", rootfs, "ls"))
    done = run("trace", "--", "run", rootfs, "absent")
    assert (done.returncode, "absent" in done.stderr) == (127, True)


def test_a_slow_reader_loses_calls_and_doesnt_hold_the_container(rootfs: Path) -> None:
    words = ["trace", "--json", "--buffer", "10", "--", "run", rootfs]
    with Running(*words, "sh", "-c", "caller again; caller again; echo over") as running:
        assert running.read_until(b"over\n") == b"over\n"  # while nobody reads the trace
        assert running.process.stderr is not None
        lines = [json.loads(line) for line in running.process.stderr.read().splitlines()]
        assert running.status() == 0
    missing = sum(line.get("missing", 0) for line in lines)
    summary = lines[-1]["summary"]
    assert missing == summary["missing"] > 0
    assert summary["count"] == missing + sum("name" in line for line in lines)


def test_a_reader_that_has_gone_ends_the_container(rootfs: Path) -> None:
    with Running("trace", "--", "run", rootfs, "caller", "busy") as running:
        running.complain(b"\n")
        assert running.process.stderr is not None
        running.process.stderr.close()
        assert running.status() == 141


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_the_command(rootfs: Path, number: signal.Signals) -> None:
    script = f"trap 'exit 9' {number.name[3:]}; echo ready; while :; do sleep 0.01; done"
    words = ["--call", "execve", "--count", "1", "--", "run", rootfs, "sh", "-c", script]
    with Running("trace", *words) as running:
        running.read_until(b"ready\n")
        running.process.send_signal(number)
        assert running.status() == 9


def test_a_second_signal_ends_a_command_and_a_reader_that_doesnt_read(rootfs: Path) -> None:
    with Running("trace", "--", "run", rootfs, "caller", "busy", stdout=subprocess.DEVNULL) as one:
        wait_until_full(one.process.stderr, 20_000)
        while one.process.poll() is None:
            one.process.terminate()  # the second kills the container; then there is but the trace
            time.sleep(0.2)
        assert one.status() == -signal.SIGTERM


def test_a_killed_ringlet_leaves_nothing(rootfs: Path) -> None:
    before = cgroups("ringlet-run-")
    with Running(
        "trace", "--summary", "--", "run", rootfs, "sh", "-c", "echo $$; caller busy"
    ) as one:
        one.read_until(b"1\n")
        time.sleep(0.2)
        children = Path(f"/proc/{one.process.pid}/task/{one.process.pid}/children").read_text()
        one.process.kill()
        one.status()
    until(lambda: not any(is_alive(int(child)) for child in children.split()))
    until(lambda: not cgroups("ringlet-run-") - before)


def test_it_takes_no_longer_than_its_timeout(rootfs: Path) -> None:
    words = ["--summary", "--", "run", "--timeout", "0.5", rootfs, "caller", "busy"]
    done = run("trace", *words)
    assert done.returncode == 124
    assert "stopped after 0.5 seconds" in done.stderr
    assert "getppid" in done.stderr


def test_escape_sequences_of_the_container_dont_reach_the_terminal(rootfs: Path) -> None:
    done = run("trace", "--", "run", rootfs, "caller", "hostile")
    assert "\033" not in done.stderr
    assert "\u202e" not in done.stderr
    assert r"\x1b[2J" in done.stderr


def test_a_process_that_the_trace_lacks_is_told(rootfs: Path) -> None:
    done = run("trace", "--summary", "--", "run", rootfs, "caller", "hides")
    assert done.stderr.splitlines()[-1] == (
        "ringlet: 1 process of the container is missing in the trace, made with CLONE_UNTRACED"
    )


def test_on_a_terminal_the_command_has_job_control(rootfs: Path) -> None:
    with consoles() as console:
        words = ["trace", "--call", "kill", "--", "run", str(rootfs), "sh"]
        shell: Console = console(BOOT, *words)
        shell.shown(b"# ")
        shell.type(b"sh -c 'echo he''re; exec sleep 100'\r")
        shell.shown(b"here\r\n")  # said by the job, which has the terminal by then
        shell.type(b"\x1a")  # Ctrl-Z stops the command of the shell in there
        shell.shown(b"Stopped")
        shell.type(b"kill %1; fg; echo over-$?; exit 4\r")
        shell.shown(b"over-")
        assert shell.ended() == 4


def test_an_ordinary_user_traces_its_containers(somebody: User) -> None:  # noqa: F811
    python = somebody.python()
    if python is None:
        lacks("a Python that other users may run")
    assert python is not None
    rootfs = make_traced_rootfs(somebody.folder / "rootfs")
    for folder, folders, files in os.walk(rootfs):
        for name in (*folders, *files):
            os.chown(f"{folder}/{name}", somebody.uid, somebody.gid, follow_symlinks=False)
    words = ["trace", "--kind", "process", "--", "run", str(rootfs), "caller", "vfork"]
    done = somebody.run(python, "-c", CODE, *words)
    assert done.returncode == 5, done.stderr
    assert "getpgid(0) = 1" in done.stderr
