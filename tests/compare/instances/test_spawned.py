"""Runs that are processes: their lines and when these came, their end, what is left of them."""

import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ringlet.compare.instances import Unavailable, spawned
from ringlet.compare.instances.processes import tree
from ringlet.compare.instances.spawned import Spawned

from ...until import until

pytestmark = pytest.mark.usefixtures("no_leak")


def shell(script: str, *, input: bool = False) -> Spawned:
    return Spawned(["sh", "-c", script], input=input)


def lines(run: Spawned) -> Iterator[str]:
    with suppress(Unavailable):
        while True:
            yield run.read_line()[1]


# Lines.


def test_a_line_has_the_time_of_its_last_byte() -> None:
    with shell("printf a; sleep 0.05; echo b; echo c; sleep 0.5; echo d") as run:
        times, texts = zip(*(run.read_line() for _ in range(3)), strict=True)
        assert texts == ("ab", "c", "d")
        assert run.began + 50_000_000 < times[0] <= times[1]
        assert times[1] + 40_000_000 < times[2] < time.monotonic_ns()


def test_a_line_that_does_not_come_in_time_still_comes() -> None:
    with shell("echo note >&2; read word; echo $word", input=True) as run:
        with pytest.raises(Unavailable, match=r"nothing for 0\.01 seconds"):
            run.read_line(0.01)
        run.write(b"x\n")
        assert run.read_line()[1] == "x"


def test_a_line_without_an_end_is_not_kept() -> None:
    endless = shell("exec tr '\\0' x < /dev/zero")
    with endless as run, pytest.raises(Unavailable, match="has no end"):
        run.read_line()


# What it is given.


def test_it_has_its_streams_and_no_other_descriptor_and_no_signal_is_ignored() -> None:
    inherited = {fd for fd in os.listdir("/proc/self/fd") if _is_inheritable(int(fd))}
    with shell("readlink /proc/$$/fd/0; grep SigIgn /proc/$$/status; ls /proc/$$/fd") as run:
        stdin, ignored, *descriptors = lines(run)
    assert stdin == "/dev/null"
    assert int(ignored.split()[1], 16) & (1 << signal.SIGPIPE - 1) == 0
    assert set(descriptors) == inherited | {"0", "1", "2"}


def _is_inheritable(fd: int) -> bool:
    with suppress(OSError):
        return os.get_inheritable(fd)
    return False  # that of the listing itself


def test_one_without_input_takes_none() -> None:
    with shell("cat") as run:
        with pytest.raises(Unavailable, match="no input"):
            run.write(b"x")
        assert run.wait() == 0


# Its end.


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -9 $$", 137)])
def test_its_status_is_as_a_shell_has_it(script: str, status: int) -> None:
    with shell(script) as run:
        assert run.wait() == status
        assert run.processes() == []


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(Unavailable, match="/absent: No such file"):
        Spawned(["/absent"])


@pytest.mark.parametrize("free", range(6))
def test_one_that_gets_no_descriptor_leaves_no_process(free: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unused = os.dup(0)
    os.close(unused)
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text()
    with suppress(OSError, Unavailable):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (unused + free, hard))
            run = shell("sleep 1000")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        run.close()
    assert children.read_text() == before


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("", "its output has ended"),
        ("bad\n\n  thing \x1b[1m", "bad; thing  [1m"),
        ("ringlet: no such thing\n   hint: try another", "no such thing"),
        (
            'time="now" level=warning msg="oh"\ntime="now" level=error msg="can\'t do \\"it\\""',
            'can\'t do \\"it\\"',
        ),
        ("x" * 5000, "x" * 400),
    ],
)
def test_a_failure_has_its_own_words(said: str, message: str) -> None:
    with Spawned(["sh", "-c", 'printf %s "$1" >&2', "sh", said]) as run:
        run.wait()
        with pytest.raises(Unavailable) as raised:
            run.read_line()
    assert raised.value.message == message
    hint = raised.value.hint
    assert hint == "try another" if "hint" in said else hint.startswith("try it: sh -c 'printf")


# What is left.


def _until_it_has(run: Spawned, count: int) -> None:
    """So many processes; what a shell runs comes a moment later than what it says before."""
    until(lambda: len(run.processes()) == count)


def test_its_processes_are_a_tree_that_ends_with_it() -> None:
    with shell("sleep 1000 & sh -c 'sleep 1000 & echo up; wait' & wait") as run:
        run.read_line()
        _until_it_has(run, 4)
        processes = run.processes()
        assert processes[0] == run.pid
    assert tree(processes) == []


def test_what_it_leaves_behind_ends_when_its_end_is_seen() -> None:
    with shell("sleep 1000 & echo $!") as run:
        left = int(run.read_line()[1])
        assert run.wait() == 0
        until(lambda: not tree([left]))  # it was killed, which takes its time


def test_one_that_won_t_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawned, "_PATIENCE", 1)
    with shell("trap '' TERM; echo up; while :; do sleep 0.1; done") as run:
        run.read_line()
    assert tree([run.pid]) == []
    assert run.wait() == 137


def test_one_whose_workload_ends_may_clean_up() -> None:
    with shell("echo up; sleep 1000; echo cleaned") as run:
        run.read_line()
        _until_it_has(run, 2)
        run.close()
        assert run.wait() == 0


def test_a_program_with_a_bracket_in_its_name_is_no_trouble(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1"
    program.write_text("#!/bin/sh\necho up; sleep 1000; exit 3\n")
    program.chmod(0o755)
    with Spawned([str(program)]) as run:
        run.read_line()
        _until_it_has(run, 2)
