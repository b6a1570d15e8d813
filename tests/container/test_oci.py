import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.spec.names import OCI_VERSION
from ringlet.oci.commands import COMMANDS

from ..leftovers import is_alive
from ..until import until
from .bundle import OCI, Bundle
from .engine import relay_terminal

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]


def oci(*words: str, **more: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*OCI, *words], capture_output=True, text=True, timeout=60, check=False, **more
    )


def test_help_shows_each_command() -> None:
    answer = oci("--help")
    assert answer.returncode == 0
    assert all(f"  {name} " in answer.stdout for name in COMMANDS)
    assert oci().stdout == answer.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_has_its_options_and_an_example(name: str) -> None:
    answer = oci(name, "--help")
    assert answer.returncode == 0
    assert f"ringlet-oci {name}" in answer.stdout.partition("example:")[2]
    assert all(f"--{option.names[0]}" in answer.stdout for option in COMMANDS[name].options)
    assert oci("help", name).stdout == answer.stdout
    assert oci(name, "-h").stdout == answer.stdout


@pytest.mark.parametrize("word", ["--version", "-v", "version"])
def test_the_version_has_the_lines_that_engines_and_scripts_read(word: str) -> None:
    lines = oci(word).stdout.splitlines()
    assert lines[0].startswith("ringlet-oci version ")
    assert lines[1] == f"spec: {OCI_VERSION}"
    assert re.fullmatch(r"libseccomp: \d+\.\d+\.\d+", lines[2])


def test_a_reader_that_has_gone_is_no_error() -> None:
    with subprocess.Popen([*OCI, "features"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as it:
        assert it.stdout is not None
        assert it.stderr is not None
        it.stdout.close()
        assert it.stderr.read() == b""
        assert it.wait() == 141


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["walk"], "unknown command walk"),
        (["--fast", "run"], "unknown option --fast"),
        (["run", "--fast", "one"], "unknown option --fast"),
        (["start"], "it takes ID"),
        (["start", "one", "two"], "it takes ID"),
        (["list", "one"], "it takes no arguments"),
        (["--log-format", "xml", "list"], "--log-format xml: not known"),
        (["--rootless=perhaps", "list"], "--rootless perhaps: not known"),
        (["--systemd-cgroup", "list"], "doesn't speak to systemd"),
        (["list", "--format", "xml"], "--format xml: not known"),
        (["create", "--preserve-fds", "x", "one"], "no whole number"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_1(words: list[str], message: str) -> None:
    answer = oci(*words)
    assert answer.returncode == 1
    assert message in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert answer.stdout == ""


def test_an_error_is_in_the_log_as_json_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    answer = oci("--root", str(tmp_path), "--log", str(log), "--log-format", "json", "start", "one")
    (line,) = map(json.loads, log.read_text().splitlines())
    assert line["level"] == "error"
    assert "container one does not exist" in line["msg"]
    assert answer.stderr == f"ringlet-oci: {line['msg']}\n"


@pytest.mark.parametrize("command", ["start", "state", "kill", "delete", "pause", "exec"])
def test_what_isnt_there_does_not_exist(tmp_path: Path, command: str) -> None:
    answer = oci("--root", str(tmp_path), command, "one", *["true"] * (command == "exec"))
    assert answer.returncode == (255 if command == "exec" else 1)
    assert "container one does not exist" in answer.stderr


def test_forced_deletion_of_what_isnt_there_is_well(tmp_path: Path) -> None:
    assert oci("--root", str(tmp_path), "delete", "--force", "one").returncode == 0


def test_a_run_is_its_command(bundle: Bundle) -> None:
    answer = bundle.run("cat; echo why >&2; exit 3", input="through")
    assert (answer.stdout, answer.stderr, answer.returncode) == ("through", "why\n", 3)
    assert bundle.left() == []


def test_a_run_ended_by_a_signal_has_its_status(bundle: Bundle) -> None:
    bundle.config["linux"]["namespaces"] = [
        namespace
        for namespace in bundle.config["linux"]["namespaces"]
        if namespace["type"] != "pid"
    ]
    assert bundle.run("kill -SEGV $$").returncode == 128 + signal.SIGSEGV


# Engines look for these words, in small letters, to tell it from a runtime that failed.
UNRUNNABLE = [
    ("absent", 127, "absent: executable file not found in $PATH"),
    ("/absent", 127, "/absent: no such file or directory"),
    ("/bin", 126, "/bin: permission denied"),
    ("/plain", 126, "/plain: permission denied"),
]


@pytest.mark.parametrize(("command", "status", "words"), UNRUNNABLE)
def test_a_command_that_cant_be_run(bundle: Bundle, command: str, status: int, words: str) -> None:
    (bundle.rootfs / "plain").write_text("no program")
    bundle.config["process"]["args"] = [command]
    answer = bundle.run()
    assert answer.returncode == status
    assert words in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert bundle.left() == []


def test_a_signal_to_a_run_is_its_commands(bundle: Bundle) -> None:
    bundle.write(
        "trap 'echo term; exit 5' TERM; trap 'echo usr1' USR1; echo up\n"
        "while :; do sleep 0.01; done"
    )
    with subprocess.Popen(
        [*OCI, "--root", str(bundle.root), "run", "--bundle", str(bundle.path), "one"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == "usr1\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "term\n"
        assert process.wait() == 5


def test_kept_after_its_run_it_is_stopped(bundle: Bundle) -> None:
    assert bundle.run("exit 0", "--keep").returncode == 0
    assert bundle.state()["status"] == "stopped"
    assert bundle.state()["pid"] == 0
    assert bundle.oci("delete", "one").returncode == 0


def test_the_life_that_engines_lead(bundle: Bundle, tmp_path: Path) -> None:
    bundle.config["annotations"] = {"a.b": "c"}
    bundle.write("echo up; while :; do sleep 0.01; done")
    pid_file = tmp_path / "pid"
    create = ["create", "--bundle", str(bundle.path), "--pid-file", str(pid_file), "one"]
    with open(tmp_path / "out", "w") as out:
        assert bundle.oci(*create, capture_output=False, stdout=out, stdin=0).returncode == 0
    state = bundle.state()
    assert state["status"] == "created"
    assert state["pid"] == int(pid_file.read_text())
    assert state["bundle"] == str(bundle.path)
    assert state["annotations"] == {"a.b": "c"}
    assert state["ociVersion"] == OCI_VERSION
    again = bundle.oci(*create)
    assert (again.returncode, "exists already" in again.stderr) == (1, True)
    assert bundle.state() == state
    assert bundle.oci("start", "one").returncode == 0
    until(lambda: (tmp_path / "out").read_text() == "up\n")
    assert bundle.state()["status"] == "running"
    assert "is running, not created" in bundle.oci("start", "one").stderr
    assert "not stopped" in bundle.oci("delete", "one").stderr
    assert bundle.oci("pause", "one").returncode == 0
    assert bundle.state()["status"] == "paused"
    assert "is paused" in bundle.oci("exec", "one", "true").stderr
    assert bundle.oci("resume", "one").returncode == 0
    assert bundle.state()["status"] == "running"
    (listed,) = json.loads(bundle.oci("list", "--format", "json").stdout)
    assert (listed["id"], listed["status"]) == ("one", "running")
    assert bundle.oci("list", "-q").stdout == "one\n"
    assert bundle.oci("list").stdout.splitlines()[1].split()[:3] == [
        "one",
        str(state["pid"]),
        "running",
    ]
    assert state["pid"] in json.loads(bundle.oci("ps", "--format", "json", "one").stdout)
    assert bundle.oci("kill", "one", "KILL").returncode == 0
    until(lambda: bundle.state()["status"] == "stopped")
    assert "not running" in bundle.oci("kill", "one", "9").stderr
    assert bundle.oci("delete", "one").returncode == 0
    assert bundle.left() == []


def test_a_created_container_is_deleted_only_by_force(bundle: Bundle) -> None:
    """The specification: deletion of what isn't stopped has no effect, and is an error."""
    bundle.write("true")
    assert bundle.oci("create", "--bundle", str(bundle.path), "one").returncode == 0
    answer = bundle.oci("delete", "one")
    assert (answer.returncode, "not stopped: created" in answer.stderr) == (1, True)
    assert bundle.state()["status"] == "created"
    assert bundle.oci("delete", "--force", "one").returncode == 0
    assert bundle.left() == []


def start(bundle: Bundle, script: str = "while :; do sleep 1; done") -> None:
    bundle.write(script)
    with open(os.devnull, "w") as null:
        answer = bundle.oci(
            "run", "-d", "--bundle", str(bundle.path), "one",
            capture_output=False, stdout=null, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    assert answer.returncode == 0, answer.stderr


def test_exec_is_its_command(bundle: Bundle) -> None:
    start(bundle)
    answer = bundle.oci("exec", "one", "sh", "-c", "cat; echo why >&2; exit 4", input="through")
    assert (answer.stdout, answer.stderr, answer.returncode) == ("through", "why\n", 4)
    assert bundle.oci("exec", "one", "sh", "-c", "kill -9 $$").returncode == 137
    (bundle.rootfs / "plain").write_text("no program")
    for command, status, words in UNRUNNABLE:
        answer = bundle.oci("exec", "one", command)
        assert (answer.returncode, words in answer.stderr) == (status, True), answer.stderr


def test_what_fails_of_exec_itself_is_255(bundle: Bundle) -> None:
    start(bundle)
    for cwd in ("/absent", "/bin/sh"):
        answer = bundle.oci("exec", "--cwd", cwd, "one", "true")
        assert (answer.returncode, "chdir" in answer.stderr) == (255, True), answer.stderr
    assert bundle.oci("exec", "--process", "/absent", "one").returncode == 255
    assert bundle.oci("pause", "one").returncode == 0
    answer = bundle.oci("exec", "one", "true")
    assert (answer.returncode, "is paused" in answer.stderr) == (255, True)


def test_exec_runs_in_a_cgroup_below_the_containers_and_in_no_other(bundle: Bundle) -> None:
    def make(name: str) -> list[Path]:
        folders = [Path(os.path.normpath(f"{folder}/{name}")) for folder in of_container()]
        for folder in folders:
            folder.mkdir()
            for file in ("cpuset.cpus", "cpuset.mems"):
                if (folder.parent / file).exists():
                    (folder / file).write_text((folder.parent / file).read_text())
        return folders

    def of_container() -> list[str]:
        state = json.loads((bundle.root / "one" / "state.json").read_text())["cgroup"]
        return [*set(state["version_1"].values()), *filter(None, [state["unified"]])]

    start(bundle)
    path = bundle.config["linux"]["cgroupsPath"]
    make("below")
    outside = make(f"..{path}-outside")  # a name that begins as the container's does
    try:
        for words, place in ((["--cgroup", "below"], "/below"), (["--cgroup", "/"], "/")):
            answer = bundle.oci("exec", *words, "one", "cat", "/proc/self/cgroup")
            assert answer.returncode == 0, answer.stderr
            names = {line.split(":", 2)[2] for line in answer.stdout.splitlines()}
            assert place in names
            assert names <= {"/", place}  # hierarchies that aren't mounted
        for path_out in (f"..{path}-outside", "../..", "/..", "below/../.."):
            answer = bundle.oci("exec", "--cgroup", path_out, "one", "true")
            assert (answer.returncode, "leads out" in answer.stderr) == (255, True), answer.stderr
    finally:
        for folder in outside:
            folder.rmdir()


@pytest.mark.parametrize("limit", [0, -1])
def test_a_pids_limit_of_0_or_less_is_no_limit(bundle: Bundle, limit: int) -> None:
    def of_cgroup() -> int:
        limit: int = json.loads(bundle.oci("events", "--stats", "one").stdout)["data"]["pids"][
            "limit"
        ]
        return limit

    bundle.config["linux"]["resources"]["pids"] = {"limit": limit}
    start(bundle)
    assert of_cgroup() == 0  # as runc has it: no limit
    resources = json.dumps({"pids": {"limit": limit}})
    for words, more in ((["--pids-limit", str(limit)], {}), (["-r", "-"], {"input": resources})):
        assert bundle.oci("update", "--pids-limit", "7", "one").returncode == 0
        assert of_cgroup() == 7
        assert bundle.oci("update", *words, "one", **more).returncode == 0
        assert of_cgroup() == 0


def test_options_of_ps_stand_behind_the_id(bundle: Bundle) -> None:
    start(bundle, "exec sleep 1000")
    for words in (["-e", "-x"], ["-ef"], ["--", "-e", "-o", "pid,args"]):
        answer = bundle.oci("ps", "one", *words)
        assert answer.returncode == 0, answer.stderr
        head, line = answer.stdout.splitlines()
        assert ("PID" in head, "sleep 1000" in line) == (True, True)


def test_exec_takes_what_options_say(bundle: Bundle) -> None:
    start(bundle)
    words = ["-e", "A=1", "--env", "B=2", "--cwd", "/bin", "-u", "7:8", "-g", "9", "one"]
    answer = bundle.oci("exec", *words, "sh", "-c", "echo $A $B $PWD; id -u; id -g; id -G")
    assert answer.stdout.split() == ["1", "2", "/bin", "7", "8", "8", "9"], answer.stderr


def test_exec_of_a_file_detached(bundle: Bundle, tmp_path: Path) -> None:
    start(bundle)
    process = bundle.config["process"] | {"args": ["sleep", "1000"]}
    (tmp_path / "process.json").write_text(json.dumps(process))
    files = ["--process", str(tmp_path / "process.json"), "--pid-file", str(tmp_path / "pid")]
    answer = bundle.oci(
        "exec", "--detach", *files, "one", capture_output=False, stdout=subprocess.DEVNULL
    )
    assert answer.returncode == 0
    pid = int((tmp_path / "pid").read_text())
    assert Path(f"/proc/{pid}/cmdline").read_text() == "sleep\x001000\0"
    assert pid in json.loads(bundle.oci("ps", "--format", "json", "one").stdout)


def test_no_process_but_the_containers_has_its_streams(bundle: Bundle) -> None:
    bundle.write("exec sleep 1000")
    read, write = os.pipe()
    create = ["create", "--bundle", str(bundle.path), "one"]
    bundle.oci(*create, capture_output=False, stdout=write, stderr=write, stdin=subprocess.DEVNULL)
    pid = bundle.state()["pid"]
    ours = os.readlink(f"/proc/self/fd/{write}")
    os.close(write)
    holders = set()
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(fd) == ours:
                holders.add(int(fd.parts[2]))
        except OSError:
            continue
    os.close(read)
    assert holders - {os.getpid()} == {pid}


def test_update_changes_a_limit(bundle: Bundle) -> None:
    start(bundle)
    assert bundle.oci("update", "--pids-limit", "77", "--memory", "64m", "one").returncode == 0
    stats = json.loads(bundle.oci("events", "--stats", "one").stdout)
    assert stats["type"] == "stats"
    assert stats["data"]["pids"]["limit"] == 77
    assert stats["data"]["memory"]["usage"]["limit"] == 64 << 20
    text = json.dumps({"pids": {"limit": 78}, "memory": {"limit": 0}, "cpu": {"cpus": ""}})
    answer = bundle.oci("update", "--resources", "-", "one", input=text)
    assert answer.returncode == 0, answer.stderr
    stats = json.loads(bundle.oci("events", "--stats", "one").stdout)
    assert stats["data"]["pids"]["limit"] == 78
    assert stats["data"]["memory"]["usage"]["limit"] == 64 << 20


def test_events_tell_of_memory_that_is_out(bundle: Bundle) -> None:
    bundle.config["linux"].setdefault("resources", {})["memory"] = {"limit": 16 << 20}
    start(bundle)
    with subprocess.Popen(
        [*OCI, "--root", str(bundle.root), "events", "--interval", "1h", "one"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["type"] == "stats"
        assert bundle.oci("exec", "one", "sh", "-c", "head -c 64m /dev/zero | tail").returncode != 0
        assert json.loads(process.stdout.readline()) == {"type": "oom", "id": "one"}
        bundle.oci("kill", "one", "KILL")
        assert process.wait(timeout=60) == 0


SIZED = "test -t 0 && test -t 1 && stty size && read word && echo got $word; exit 6"


def test_a_run_with_a_terminal_relays_it(bundle: Bundle) -> None:
    bundle.config["process"]["terminal"] = True
    bundle.write(SIZED)
    words = [*OCI, "--root", str(bundle.root), "run", "--bundle", str(bundle.path), "one"]
    status, seen = relay_terminal(words, [(b"33 77", b"word\r")], size=(33, 77))
    assert status == 6, seen
    assert b"got word\r\n" in seen


def test_exec_with_a_terminal_relays_it(bundle: Bundle) -> None:
    start(bundle)
    words = [*OCI, "--root", str(bundle.root), "exec", "-t", "one", "sh", "-c", SIZED]
    status, seen = relay_terminal(words, [(b"33 77", b"word\r")], size=(33, 77))
    assert status == 6, seen
    assert b"got word\r\n" in seen


def test_a_terminal_that_nobody_would_hold_is_refused(bundle: Bundle) -> None:
    bundle.config["process"]["terminal"] = True
    bundle.write("true")
    answer = bundle.oci("create", "--bundle", str(bundle.path), "one")
    assert answer.returncode == 1
    assert "--console-socket" in answer.stderr
    assert bundle.left() == []


def test_spec_writes_a_configuration_and_never_over_one(tmp_path: Path) -> None:
    assert oci("spec", "--bundle", str(tmp_path)).returncode == 0
    before = (tmp_path / "config.json").read_text()
    assert json.loads(before)["ociVersion"] == OCI_VERSION
    answer = oci("spec", "--bundle", str(tmp_path))
    assert (answer.returncode, "exists" in answer.stderr) == (1, True)
    assert (tmp_path / "config.json").read_text() == before


def test_features_are_json() -> None:
    assert json.loads(oci("features").stdout)["ociVersionMax"] == OCI_VERSION


def test_what_an_engine_calls_imports_nothing_slow(bundle: Bundle) -> None:
    slow = {"typing", "json", "re", "enum", "signal", "subprocess", "argparse", "click", "socket"}
    slow |= {"collections", "contextlib", "dataclasses", "tempfile", "_cffi_backend"}
    bundle.write("true")
    timing = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    for words in (
        ["create", "--bundle", str(bundle.path), "one"],
        ["start", "one"],
        ["delete", "--force", "one"],
        ["run", "--bundle", str(bundle.path), "one"],
    ):
        done = bundle.oci(*words, env=timing)
        assert done.returncode == 0, done.stderr
        lines = done.stderr.partition(" site\n")[2].splitlines()  # site is the interpreter's own
        imported = {line.rpartition("|")[2].strip() for line in lines}
        assert "ringlet.container.runtime" in imported
        assert not slow & imported, words


def test_debug_logs_the_steps_to_the_log_too(bundle: Bundle, tmp_path: Path) -> None:
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/true"}]}
    bundle.write("while :; do sleep 0.01; done")
    log = tmp_path / "log"
    options = ["--debug", "--log", str(log), "--log-format", "json"]
    for words, steps in (
        (
            ["create", "--bundle", str(bundle.path), "one"],
            ["create one", str(bundle.path), "cgroup {", "in its namespaces", "/bin/true", "waits"],
        ),
        (["start", "one"], ["start one", "runs its command"]),
        (["exec", "one", "true"], ["exec one", "runs its command"]),
        (["kill", "one", "KILL"], ["kill one", "signal 9; it is running"]),
        (["delete", "--force", "one"], ["delete one", "is removed"]),
    ):
        log.unlink(missing_ok=True)
        answer = bundle.oci(*options, *words, stdout=subprocess.DEVNULL)
        assert (answer.returncode, answer.stderr) == (0, "")
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert {line["level"] for line in lines} == {"debug"}
        said = "\n".join(line["msg"] for line in lines)
        assert [step for step in steps if step not in said] == []
    answer = bundle.oci("--debug", "delete", "--force", "one")
    assert answer.stderr.startswith("ringlet-oci: debug: delete one")
    assert bundle.oci("delete", "--force", "one").stderr == ""


FLOODS = "while :; do for one in /dev/pts/[0-9]*; do yes > $one; done 2> /dev/null; done"


def test_a_signal_ends_an_exec_whose_last_output_nobody_reads(bundle: Bundle) -> None:
    """Its command has ended; another process of the container has filled its terminal."""
    (bundle.rootfs / "bin/yes").symlink_to("busybox")
    bundle.write(FLOODS)
    words = ["run", "--detach", "--bundle", str(bundle.path), "one"]
    assert bundle.oci(*words).returncode == 0
    pid = bundle.path / "pid"
    words = [*OCI, "--root", str(bundle.root), "exec", "--tty", "--pid-file", str(pid), "one"]
    with subprocess.Popen(
        [*words, "sh", "-c", "sleep 0.5; exit 7"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as exec:
        try:
            assert exec.stdout is not None
            os.read(exec.stdout.fileno(), 1)  # it runs
            until(lambda: pid.exists() and not is_alive(int(pid.read_text())))
            time.sleep(0.2)
            exec.send_signal(signal.SIGTERM)
            assert exec.wait(60) == 7
        finally:
            exec.kill()
