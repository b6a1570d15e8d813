import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ringlet.compare.instances import Unavailable
from ringlet.compare.instances.system_calls import count

from ...until import LONG

# Waits for a byte, then makes 100 calls that Python itself doesn't make, and ends at once.
PROGRAM = """
import os
os.write(1, b"x")
os.read(0, 1)
for _ in range({calls}):
    os.getppid()
os._exit(3)
"""


def _begin(calls: int) -> "subprocess.Popen[bytes]":
    program = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", PROGRAM.format(calls=calls)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert program.stdout is not None
    program.stdout.read(1)
    return program


def _let_go(program: "subprocess.Popen[bytes]") -> None:
    assert program.stdin is not None
    program.stdin.write(b"x\n")


@pytest.mark.parametrize("calls", [0, 1, 100])
def test_each_call_until_the_end_is_counted_once(calls: int) -> None:
    with _begin(calls) as program:
        # With the read that it sleeps in and its end.
        assert count(program.pid, lambda: _let_go(program)) == calls + 2
        assert program.wait(LONG) == 3  # which is left for its parent


def test_the_process_of_another_parent_ends_for_it() -> None:
    # The shell waits for its child, which the tracer may not take from it.
    program = subprocess.Popen(
        ["sh", "-c", 'sh -c "echo \\$\\$; read x; exit 7"; echo $?'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    with program:
        assert program.stdout is not None
        inner = int(program.stdout.readline())
        assert count(inner, lambda: _let_go(program)) >= 2
        assert program.stdout.readline() == b"7\n"


def test_a_signal_reaches_the_process() -> None:
    with _begin(0) as program:
        count(program.pid, lambda: os.kill(program.pid, signal.SIGTERM))
        assert program.wait(LONG) == -signal.SIGTERM


def test_one_that_does_not_end_is_let_go() -> None:
    with _begin(0) as program:
        with pytest.raises(Unavailable, match="doesn't end"):
            count(program.pid, lambda: None, timeout=0.1)
        _let_go(program)
        assert program.wait(LONG) == 3


BUSY = """
import os, threading
os.write(1, b"x")
os.read(0, 1)
def call():
    while True:
        os.getppid()
for _ in range(3):
    threading.Thread(target=call, daemon=True).start()
os.read(0, 1)
for _ in range(5):
    if os.fork() == 0:
        os._exit(0)
    os.wait()
os._exit(3)
"""


@pytest.mark.parametrize("round", range(2))
def test_one_that_is_let_go_in_the_middle_of_calls_and_its_threads_go_on(round: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", BUSY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as program:
        assert program.stdout is not None
        assert program.stdin is not None
        program.stdout.read(1)
        with pytest.raises(Unavailable, match="doesn't end"):
            count(program.pid, lambda: _let_go(program), timeout=0.1 + round / 50)
        assert "TracerPid:\t0\n" in Path(f"/proc/{program.pid}/status").read_text()
        program.stdin.write(b"x")
        assert program.wait(LONG) == 3


def test_no_thread_is_left_and_a_process_that_is_gone_is_said(no_leak: None) -> None:
    program = subprocess.Popen(["true"])
    program.wait()
    with pytest.raises(Unavailable, match="No such process"):
        count(program.pid, lambda: None)


def test_what_begin_raises_comes_through_and_the_process_goes_on() -> None:
    def begin() -> None:
        raise OSError("no more")

    with _begin(0) as program:
        with pytest.raises(OSError, match="no more"):
            count(program.pid, begin)
        _let_go(program)
        assert program.wait(LONG) == 3


def test_a_process_that_may_not_be_traced_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="not permitted"):  # nobody traces itself
        count(os.getpid(), lambda: None)
    assert threading.active_count() == 1
