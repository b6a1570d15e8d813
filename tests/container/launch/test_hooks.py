import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.launch.hooks import HookError, run_all_hooks, run_hooks

STATE: dict[str, object] = {"ociVersion": "1.2.0", "id": "one", "pid": 1}


def shell(script: str, **more: Any) -> Any:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], **more}


def test_a_hook_has_the_state_its_arguments_its_environment_and_the_bundle(tmp_path: Path) -> None:
    script = "cat > state; echo $0 $1 > arguments; /usr/bin/env > environment"
    hook = {
        "path": "/bin/sh",
        "args": ["sh", "-c", script, "zero", "one"],
        "env": ["A=1", "B=x=y"],
    }
    run_hooks("prestart", [hook], STATE, str(tmp_path))  # type: ignore[list-item]
    assert json.loads((tmp_path / "state").read_text()) == STATE
    assert (tmp_path / "arguments").read_text() == "zero one\n"
    environment = (tmp_path / "environment").read_text().splitlines()
    assert {"A=1", "B=x=y"} <= set(environment)
    assert not any(line.startswith(("HOME=", "PATH=")) for line in environment)


def test_a_hook_without_an_environment_has_ours_and_one_with_an_empty_one_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "yes")
    script = "/usr/bin/env > $0"
    hooks = [
        {"path": "/bin/sh", "args": ["sh", "-c", script, "ours"]},
        {"path": "/bin/sh", "args": ["sh", "-c", script, "none"], "env": []},
    ]
    run_hooks("prestart", hooks, STATE, str(tmp_path))  # type: ignore[arg-type]
    assert "OURS=yes\n" in (tmp_path / "ours").read_text()
    assert "OURS" not in (tmp_path / "none").read_text()


def test_a_hook_may_have_nothing_but_a_path(tmp_path: Path) -> None:
    run_hooks("prestart", [{"path": "/bin/true"}], STATE, str(tmp_path))


def test_hooks_run_in_order(tmp_path: Path) -> None:
    run_hooks("prestart", [shell(f"echo {n} >> log") for n in range(5)], STATE, str(tmp_path))
    assert (tmp_path / "log").read_text() == "0\n1\n2\n3\n4\n"


def test_after_one_that_fails_no_other_runs(tmp_path: Path) -> None:
    hooks = [shell("echo lost; echo why >&2; exit 3"), shell("touch ran")]
    with pytest.raises(HookError) as error:
        run_hooks("createRuntime", hooks, STATE, str(tmp_path))
    assert error.value.message == "createRuntime hook 0, /bin/sh: status 3: why"
    assert not (tmp_path / "ran").exists()


def test_of_those_after_the_fact_all_run_and_the_failures_are_told(tmp_path: Path) -> None:
    hooks = [shell("exit 3"), shell("touch ran"), shell("kill -9 $$")]
    failed = run_all_hooks("poststop", hooks, STATE, str(tmp_path))
    assert [error.message for error in failed] == [
        "poststop hook 0, /bin/sh: status 3",
        "poststop hook 2, /bin/sh: killed by a signal",
    ]
    assert (tmp_path / "ran").exists()


def test_a_hook_that_isnt_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HookError, match="hook 0, /absent: No such file or directory"):
        run_hooks("prestart", [{"path": "/absent"}], STATE, str(tmp_path))


def test_a_hook_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    hook = shell("echo $$ > pid; while :; do :; done", timeout=1)
    with pytest.raises(HookError, match="no end after 1 s"):
        run_hooks("prestart", [hook], STATE, str(tmp_path))
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_one_that_prints_without_end_is_killed_too(tmp_path: Path) -> None:
    with pytest.raises(HookError, match="no end after 1 s"):
        run_hooks("prestart", [shell("while :; do echo x; done", timeout=1)], STATE, str(tmp_path))


def test_what_a_hook_leaves_running_holds_nobody(tmp_path: Path) -> None:
    start = time.monotonic()
    run_hooks("prestart", [shell("sleep 30 & echo $! > pid")], STATE, str(tmp_path))
    assert time.monotonic() - start < 30  # not the pipe's end is waited for
    os.kill(int((tmp_path / "pid").read_text()), 9)


def test_a_hook_that_prints_much_and_reads_nothing_ends(tmp_path: Path) -> None:
    hook = shell("head -c 3000000 /dev/zero; exit 1")
    with pytest.raises(HookError) as error:
        run_hooks("prestart", [hook], STATE, str(tmp_path))
    assert len(error.value.message) < 5000


def test_a_hook_holds_none_of_our_streams(tmp_path: Path, no_leak: None) -> None:
    run_hooks("prestart", [shell("readlink /proc/self/fd/* > fds || :")], STATE, str(tmp_path))
    ours = {os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)} - {"/dev/null"}
    assert not ours & set((tmp_path / "fds").read_text().splitlines())
