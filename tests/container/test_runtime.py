"""The operations, against real namespaces and cgroups; the words of the command: test_oci.py."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ringlet.host.process_stat import read_stat

from .bundle import Bundle
from .cgroups.inside import eventually

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]

POINTS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")

# Kills itself at a line of the runtime's: the one of this number, of those that it comes to.
KILLED = """
import os, sys
from ringlet.container import runtime, state
from ringlet.container.launch import launch
from ringlet.oci import attached
from ringlet.oci import main as oci
from ringlet.container.cgroups import find
FILES = {module.__file__ for module in (attached, launch, runtime, state, find)}
left = int(sys.argv.pop(1))
def on_line(frame, event, argument):
    global left
    left -= event == "line"
    if left == 0:
        os.kill(os.getpid(), 9)
    return on_line
sys.settrace(lambda frame, event, argument: on_line if frame.f_code.co_filename in FILES else None)
oci.main()
"""


def hook(script: str) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script]}


def test_hooks_run_at_their_points_with_the_state_of_then(bundle: Bundle) -> None:
    log = bundle.path / "log"
    # Those of the container's namespaces: createContainer has the host's root, startContainer not.
    inside = hook("read state; echo startContainer $state")
    bundle.config["hooks"] = {
        point: [hook(f"read state; echo {point} $state >> {log}")] for point in POINTS
    } | {"startContainer": [inside]}
    assert bundle.run("echo command").returncode == 0
    lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
    states = {point: json.loads(text) for point, text in lines}
    assert list(states) == [point for point in POINTS if point != "startContainer"]
    assert {point: state["status"] for point, state in states.items()} == {
        "prestart": "creating",
        "createRuntime": "creating",
        "createContainer": "creating",
        "poststart": "running",
        "poststop": "stopped",
    }
    assert all(state["id"] == "one" for state in states.values())
    assert all(state["bundle"] == str(bundle.path) for state in states.values())
    assert states["createContainer"]["pid"] == 1  # as the container sees it
    pids = {states[point]["pid"] for point in ("prestart", "createRuntime", "poststart")}
    assert len(pids) == 1


def test_a_hook_of_the_runtime_sees_the_containers_namespaces_from_outside(bundle: Bundle) -> None:
    script = (
        "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); readlink /proc/self/ns/net > ours;"
        "readlink /proc/$pid/ns/net > theirs"
    )
    bundle.config["hooks"] = {"createRuntime": [hook(script) | {"env": ["PATH=/usr/bin:/bin"]}]}
    assert bundle.run("true").returncode == 0
    assert (bundle.path / "ours").read_text() == os.readlink("/proc/self/ns/net") + "\n"
    assert (bundle.path / "theirs").read_text().startswith("net:[")
    assert (bundle.path / "theirs").read_text() != (bundle.path / "ours").read_text()


def test_a_hook_without_an_environment_has_that_of_whose_program_it_is(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "a b")
    bundle.config["process"]["env"].append("THEIRS=1")
    script = "(echo; export -p) >> "
    bundle.config["hooks"] = {
        "createContainer": [hook(f"{script}{bundle.path}/host")],
        "startContainer": [hook(f"{script}/dev/shm/image")],
    }
    answer = bundle.run("cat /dev/shm/image")
    host = (bundle.path / "host").read_text()
    assert ("OURS='a b'" in host, "THEIRS" in host) == (True, False)
    assert ("THEIRS='1'" in answer.stdout, "OURS" in answer.stdout) == (True, False)


@pytest.mark.parametrize("point", POINTS[:4])
def test_a_hook_that_fails_before_the_command_ends_it_all(bundle: Bundle, point: str) -> None:
    bundle.config["hooks"] = {
        point: [hook("exit 3")],
        "poststop": [hook("echo stopped > stopped")],
    }
    answer = bundle.run("echo command")
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert point in answer.stderr
    assert (bundle.path / "stopped").exists()
    assert bundle.left() == []


@pytest.mark.parametrize("point", ["startContainer", "poststart"])
@pytest.mark.parametrize("detached", [False, True])
def test_a_hook_of_the_start_that_fails_destroys_the_container(
    bundle: Bundle, point: str, detached: bool
) -> None:
    bundle.config["hooks"] = {
        point: [hook("exit 3")],
        "poststop": [hook("cat > stopped")],
    }
    bundle.write("sleep 1000")
    words = ["--bundle", str(bundle.path), "one"]
    if detached:
        assert bundle.oci("create", *words, capture_output=False).returncode == 0
        answer = bundle.oci("start", "one")
    else:
        answer = bundle.oci("run", *words)
    assert answer.returncode == 1
    assert f"{point} hook 0" in answer.stderr or f"hook {point}" in answer.stderr
    assert "warning" not in answer.stderr
    assert json.loads((bundle.path / "stopped").read_text())["status"] == "stopped"
    assert "does not exist" in bundle.oci("state", "one").stderr
    assert bundle.left() == []


def test_a_hook_that_fails_after_the_end_is_a_warning(bundle: Bundle) -> None:
    bundle.config["hooks"] = {"poststop": [hook("exit 3"), hook("echo > ran")]}
    answer = bundle.run("echo command; exit 5")
    assert (answer.returncode, answer.stdout) == (5, "command\n")
    assert "warning: poststop hook 0" in answer.stderr
    assert (bundle.path / "ran").exists()
    assert bundle.left() == []


@pytest.mark.needs_libseccomp
@pytest.mark.usefixtures("seccomp_cache")
def test_a_listener_of_seccomps_that_nothing_needs_is_a_warning(bundle: Bundle) -> None:
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": "/nobody/listens",
    }
    answer = bundle.run("echo command")
    assert (answer.returncode, answer.stdout) == (0, "command\n")
    assert "warning: linux.seccomp.listenerPath: not used" in answer.stderr


def test_what_is_wrong_in_the_configuration_is_named_and_nothing_is_left(bundle: Bundle) -> None:
    bundle.config["process"]["rlimits"] = [{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]
    answer = bundle.run("true")
    assert answer.returncode == 1
    assert "process.rlimits[0].type" in answer.stderr
    assert bundle.left() == []


def test_without_a_configuration_the_bundle_is_named(bundle: Bundle) -> None:
    answer = bundle.oci("create", "--bundle", str(bundle.path), "one")
    assert answer.returncode == 1
    assert f"{bundle.path}/config.json: No such file or directory" in answer.stderr


def test_a_cgroup_that_others_have_is_left_to_them(bundle: Bundle) -> None:
    bundle.write("sleep 1000")
    words = ["--bundle", str(bundle.path)]
    assert bundle.oci("create", *words, "one", capture_output=False).returncode == 0
    answer = bundle.oci("create", *words, "two")
    assert answer.returncode == 1
    assert "has processes" in answer.stderr
    assert bundle.state()["status"] == "created"
    assert bundle.oci("list", "-q").stdout == "one\n"


def test_exec_goes_by_the_configuration_that_the_container_was_made_with(bundle: Bundle) -> None:
    bundle.config["process"]["env"].append("A=before")
    bundle.write("while :; do sleep 0.01; done")
    words = ["run", "-d", "--bundle", str(bundle.path), "one"]
    assert bundle.oci(*words, capture_output=False, stdout=subprocess.DEVNULL).returncode == 0
    (bundle.path / "config.json").unlink()
    answer = bundle.oci("exec", "one", "sh", "-c", "echo $A")
    assert answer.stdout == "before\n", answer.stderr


def test_a_containers_command_that_ended_leaves_no_others(bundle: Bundle) -> None:
    bundle.config["linux"]["namespaces"] = [
        one for one in bundle.config["linux"]["namespaces"] if one["type"] != "pid"
    ]
    assert bundle.run("sleep 1000 & true", capture_output=False).returncode == 0
    assert bundle.left() == []


def killed(number: int, words: list[str], bundle: Bundle) -> bool:
    """Whether it came to that line; if not, it has done what it should."""
    answer = subprocess.run(
        [sys.executable, "-c", KILLED, str(number), "--root", str(bundle.root), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # no pipes: a container that waits to be started holds them
        stderr=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert answer.returncode in (0, -9)
    return answer.returncode == -9


def lines_apart(few: int, many: int) -> pytest.MarkDecorator:
    """Every so many lines: a few of them, and, where there is time, many."""
    return pytest.mark.parametrize("lines", [few, pytest.param(many, marks=pytest.mark.slow)])


@lines_apart(31, 5)
def test_killed_at_any_step_of_a_run_nothing_is_left_after_deletion(
    bundle: Bundle, lines: int
) -> None:
    bundle.write("true")
    number = 1
    while killed(number, ["run", "--bundle", str(bundle.path), "one"], bundle):
        answer = bundle.oci("delete", "--force", "one")
        assert answer.returncode == 0, (number, answer.stderr)
        assert bundle.left() == [], number
        number += lines
    assert number > 500
    assert bundle.left() == []


@lines_apart(17, 3)
def test_killed_at_any_step_of_deletion_it_can_be_done_again(bundle: Bundle, lines: int) -> None:
    bundle.write("sleep 1000")
    number = 1
    while True:
        create = ["create", "--bundle", str(bundle.path), "one"]
        assert bundle.oci(*create, capture_output=False).returncode == 0
        if not killed(number, ["delete", "--force", "one"], bundle):
            break
        answer = bundle.oci("delete", "--force", "one")
        assert answer.returncode == 0, (number, answer.stderr)
        assert bundle.left() == [], number
        number += lines
    assert number > 50
    assert bundle.left() == []


def test_a_container_in_anothers_process_ids_is_killed_with_all_that_it_has(bundle: Bundle) -> None:
    words = ["unshare", "--pid", "--fork", "sh", "-c", "echo; exec sleep 1000"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        (first,) = Path(f"/proc/{other.pid}/task/{other.pid}/children").read_text().split()
        for one in bundle.config["linux"]["namespaces"]:
            if one["type"] == "pid":
                one["path"] = f"/proc/{first}/ns/pid"
        bundle.write("sleep 1000 & sleep 1000")
        try:
            done = bundle.oci("run", "--detach", "--bundle", str(bundle.path), "one",
                              capture_output=False)  # fmt: skip
            assert done.returncode == 0
            assert eventually(lambda: len(bundle.oci("ps", "one").stdout.splitlines()) > 2)
            assert bundle.oci("kill", "one", "KILL").returncode == 0
            assert eventually(lambda: len(bundle.oci("ps", "one").stdout.splitlines()) < 2)
        finally:
            os.kill(int(first), signal.SIGKILL)


def test_a_configuration_without_a_process_is_refused_by_name(bundle: Bundle) -> None:
    del bundle.config["process"]
    bundle.write()
    answer = bundle.oci("create", "--bundle", str(bundle.path), "one")
    assert answer.returncode == 1
    assert "process: it is missing" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert bundle.left() == []


def test_a_cgroups_path_that_leads_out_is_not_looked_at_or_removed(
    bundle: Bundle, tmp_path: Path
) -> None:
    """Somebody makes the folder that it names while the runtime is at work."""
    victim, made = tmp_path / "victim", tmp_path / "made"
    bundle.config["linux"]["cgroupsPath"] = f"/../../../../../../..{victim}"
    bundle.write("true")
    maker = f"""
import os, sys
from ringlet.container.cgroups import find
from ringlet.oci import main as oci
create = find.Cgroups.create
def make_the_victim_first(*arguments, **more):
    os.mkdir({str(victim)!r})
    open({str(made)!r}, "x").close()
    return create(*arguments, **more)
find.Cgroups.create = make_the_victim_first
oci.main()
"""
    words = [sys.executable, "-c", maker, "--root", str(bundle.root)]
    answer = subprocess.run(
        [*words, "create", "--bundle", str(bundle.path), "one"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (answer.returncode, "linux.cgroupsPath" in answer.stderr) == (1, True), answer.stderr
    # It either never came so far, or left the folder alone.
    assert victim.exists() == made.exists()
    assert not list(bundle.root.iterdir())


@pytest.mark.needs_gcc
def test_a_container_whose_first_thread_has_ended_runs_until_it_is_killed(bundle: Bundle) -> None:
    source = Path(__file__).parent / "leader.c"
    words = ["gcc", "-static", "-pthread", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*words, source, "-o", bundle.rootfs / "bin/leader"], check=True)
    bundle.write("exec leader")
    words = ["run", "--detach", "--bundle", str(bundle.path), "one"]
    assert bundle.oci(*words).returncode == 0
    pid = bundle.state()["pid"]
    eventually(lambda: read_stat(pid)[0] == b"Z")
    assert bundle.state()["status"] == "running"
    assert "not stopped: running" in bundle.oci("delete", "one").stderr
    assert "has ended, or its first thread" in bundle.oci("exec", "one", "true").stderr
    assert bundle.oci("kill", "one", "KILL").returncode == 0
    eventually(lambda: bundle.state()["status"] == "stopped")
    assert bundle.oci("delete", "one").returncode == 0
