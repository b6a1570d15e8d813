"""What nobody would give to `ringlet-oci`, and what it says then: one line, and no traceback."""

import ctypes
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlet.container.pid_file import write_pid
from ringlet.oci.commands import COMMANDS

from ..examples import examples
from .bundle import OCI, Bundle
from .test_oci import start

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]


def refused(done: "subprocess.CompletedProcess[str]") -> str:
    """The one line that it said."""
    assert done.returncode == (255 if "exec" in done.args else 1), done
    assert re.fullmatch(r"ringlet-oci: .*\n", done.stderr), done.stderr
    return done.stderr


LONG = "9" * 5000
ADDR_NO_RANDOMIZE = 0x40000  # <sys/personality.h>
SAME = os.environ | {"PYTHONHASHSEED": "0"}
_LIBC = ctypes.CDLL(None)
SHORT = 1000  # characters of a message, whatever it names


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    """A bundle whose container runs."""
    bundle = Bundle(tmp_path_factory.mktemp("running"))
    bundle.config["linux"]["cgroupsPath"] = f"/ringlet-running-{os.getpid()}"
    start(bundle)
    yield bundle
    bundle.oci("delete", "--force", "one")
    assert bundle.left() == []


@pytest.mark.parametrize(
    "words",
    [
        ["kill", "one", LONG],
        ["kill", "one", f"RTMIN+{LONG}"],
        ["kill", "one", "²"],
        ["create", "--preserve-fds", str((1 << 63) - 1), "two"],
        ["create", "--preserve-fds", LONG, "two"],
        ["create", f"--preserve-fds={LONG}", "two"],
        [f"--{LONG}"],
        [LONG],
        ["state", LONG],
        ["exec", "--preserve-fds", str(1 << 31), "one", "true"],
        ["exec", "--preserve-fds", "1", "one", "true"],
        ["exec", "--user", LONG, "one", "true"],
        ["exec", "--env", "\udcff\n", "absent", "true"],
        ["exec", "--process", "\udcff", "one"],
        ["update", "--memory", LONG, "one"],
        ["update", "--cpuset-cpus", LONG, "one"],
        ["update", "--resources", "/dev/zero", "one"],
        ["update", "--resources", "/", "one"],
        ["exec", "--process", "/dev/zero", "one"],
        ["events", "--interval", "999999999s", "one"],
        ["events", "--interval", f"{LONG}s", "one"],
        ["events", "--interval", "nan", "one"],
        ["ps", "one", "--", "-o", "no-such-column"],
        ["ps", "one", "--", "-o", "args"[:0]],
        ["state", "\udcff"],
        ["--root", "x" * 5000, "state", "one"],
        ["--root", "/dev/null", "state", "one"],
        ["--log", "/", "state", "absent\x1b[2J"],
        ["\x1b[2J\n"],
        ["create", "--bundle", "\udcff\n", "two"],
    ],
)
def test_a_command_line_that_nobody_would_give(running: Bundle, words: list[str]) -> None:
    assert len(refused(running.oci(*words))) < SHORT
    assert os.listdir(running.root) == ["one"]


@settings(max_examples=examples(60), deadline=None)
@given(
    st.sampled_from([name for name in COMMANDS if name not in ("run", "create", "spec", "events")]),
    st.lists(
        st.sampled_from(["--", "-", "one", "--format", "json", "--process", "--force", "-1", LONG])
        | st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8)
        | st.binary(max_size=8).map(lambda data: os.fsdecode(data.replace(b"\0", b""))),
        max_size=5,
    ),
)
def test_random_words_are_no_traceback(name: str, words: list[str]) -> None:
    done = subprocess.run(
        [*OCI, "--root", "/nonexistent/state", name, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in (0, 255 if name == "exec" else 1), done
    assert done.stderr == b"" if done.returncode == 0 else done.stderr.count(b"\n") == 1
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_a_configuration_that_is_no_file_is_refused_at_once(bundle: Bundle, make: object) -> None:
    make(bundle.path / "config.json")  # type: ignore[operator]
    for command in ("create", "run"):
        said = refused(bundle.oci(command, "--bundle", str(bundle.path), "one"))
        assert "isn't a regular file" in said or "Is a directory" in said
        assert os.listdir(bundle.root) == []


def test_a_process_and_resources_may_come_through_a_pipe_that_was_given(bundle: Bundle) -> None:
    start(bundle)
    process = json.dumps({"cwd": "/", "args": ["echo", "done"], "user": {"uid": 0, "gid": 0}})
    answer = bundle.oci("exec", "--process", "/dev/stdin", "one", input=process)
    assert (answer.stdout, answer.returncode) == ("done\n", 0), answer.stderr
    answer = bundle.oci("update", "--resources", "/dev/stdin", "one", input='{"pids":{"limit":9}}')
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("limit", [5, 6, 8, 12, 20, 40, 63, 64, 70, 95])
def test_too_few_descriptors_are_told_and_leave_nothing(bundle: Bundle, limit: int) -> None:
    bundle.write("true")
    for command in ("create", "run"):
        done = bundle.oci(
            command, "--bundle", str(bundle.path), "one",
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
        )  # fmt: skip
        assert f"RLIMIT_NOFILE is {limit}" in refused(done)
        assert not bundle.root.exists()
    done = bundle.oci("run", "--bundle", str(bundle.path), "one", preexec_fn=lambda: _limit(96))
    assert done.returncode == 0, done.stderr


def _limit(descriptors: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))


@pytest.mark.parametrize("columns", ["args,pid", "pid,args", "args", "user,args,pid,comm"])
def test_ps_with_columns_that_have_spaces(bundle: Bundle, columns: str) -> None:
    start(bundle, "sleep 1000 & exec sleep 2000")
    answer = bundle.oci("ps", "one", "--", "-e", "-o", columns)
    assert answer.returncode == 0, answer.stderr
    head, *lines = answer.stdout.splitlines()
    assert head.split() == [
        {"args": "COMMAND", "comm": "COMMAND"}.get(column, column.upper())
        for column in columns.split(",")
    ]
    assert len(lines) == 2
    assert all("sleep" in line for line in lines)


def test_what_needs_no_state_needs_no_place_for_it(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "XDG_RUNTIME_DIR"}

    def as_nobody() -> None:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)

    os.chmod(tmp_path, 0o777)
    for words in (["spec", "--rootless"], ["features"], ["--help"], ["help", "run"], ["--version"]):
        done = subprocess.run(
            ["unshare", "--user", "--map-root-user", *OCI, *words],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), words
    assert (tmp_path / "config.json").exists()


def test_the_pid_file_is_new_and_no_link_that_was_laid_there(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    for name in ("pid", f"pid.{os.getpid()}"):
        (tmp_path / name).symlink_to(victim)
    write_pid(str(tmp_path / "pid"), 123)
    assert victim.read_text() == "as it was"
    assert not (tmp_path / "pid").is_symlink()
    assert (tmp_path / "pid").read_text() == "123"
    assert sorted(os.listdir(tmp_path)) == ["pid", f"pid.{os.getpid()}", "victim"]


def test_a_pid_file_that_cant_be_leaves_nothing(bundle: Bundle, tmp_path: Path) -> None:
    bundle.write("sleep 1000")
    (tmp_path / "folder").mkdir()
    words = ["--bundle", str(bundle.path), "--pid-file", str(tmp_path / "folder"), "one"]
    refused(bundle.oci("create", *words))
    assert list(bundle.root.iterdir()) == []
    assert os.listdir(tmp_path / "folder") == []
    assert not list(tmp_path.glob(".ringlet*"))


def _memory(kib: int) -> None:
    _LIBC.personality(ADDR_NO_RANDOMIZE)  # or what the same takes differs from time to time
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (kib << 10, kib << 10))


def loads(kib: int) -> bool:
    """Whether the interpreter has all the modules loaded that a container takes, or most."""
    words = [sys.executable, "-c", "import ringlet.oci.attached, ringlet.oci.main"]
    limit = partial(_memory, kib)
    try:
        subprocess.run(
            words, preexec_fn=limit, env=SAME, capture_output=True, check=True, timeout=60
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return False
    return True


def test_with_little_memory_it_leaves_nothing_or_says_how_to_remove_it(bundle: Bundle) -> None:
    """With less than that, CPython 3.11 has errors of its own, or spins in an import for ever."""
    script = str(Path(__file__).parents[2] / "scripts" / "ringlet-oci")
    bundle.write("true")
    words = [sys.executable, script, "--root", str(bundle.root), "run"]
    words += ["--bundle", str(bundle.path), "one"]
    least = next(kib for kib in range(8_000, 40_000, 250) if all(map(loads, [kib] * 3)))
    statuses = []
    for kib in range(least + 250, 60_000, 127):
        done = subprocess.run(
            words, preexec_fn=partial(_memory, kib), env=SAME, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        if "Fatal Python error: init" in done.stderr:
            continue  # CPython's own: a little more memory can be less, with larger arenas
        statuses.append(done.returncode)
        if statuses[-3:] == [0, 0, 0]:
            break
        said = (kib, done.returncode, done.stderr)
        if done.returncode == -signal.SIGSEGV:  # its stack could not grow, which nobody can catch
            bundle.oci("delete", "--force", "one")
            assert bundle.left() == [], said
            continue
        assert done.returncode in (0, 1), said
        assert done.returncode == 0 or re.fullmatch("ringlet-oci: .+\n", done.stderr), said
        if bundle.left():  # the clean-up lacked memory, too
            assert "delete --force" in done.stderr, said
            assert bundle.oci("delete", "--force", "one").returncode == 0, said
            assert bundle.left() == [], said
    assert statuses[0] == 1
    assert statuses[-3:] == [0, 0, 0]
