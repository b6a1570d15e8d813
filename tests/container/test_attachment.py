import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.attachment import Attachment

from .engine import relay_terminal

# As `run` does it, with a shell on a pseudo-terminal in the place of a container.
ATTACHED = """
import os, pty, socket, sys
from ringlet.container.attachment import Attachment
class Child:
    def fileno(self): return pidfd
    def signal(self, number): os.kill(pid, number)
with Attachment() as attachment:
    path = attachment.open_console()
    pid, master = pty.fork()
    if pid == 0:
        os.execvp("sh", ["sh", "-c", sys.argv[1]])
    pidfd = os.pidfd_open(pid)
    with socket.socket(socket.AF_UNIX) as sender:
        sender.connect(path)
        socket.send_fds(sender, [b"/dev/pts/0"], [master])
    os.close(master)
    attachment.connect()
    attachment.follow(Child())
    assert os.path.exists(path)
assert not os.path.exists(path)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""

SAYS = "trap 'echo usr1' USR1; trap 'echo term; exit' TERM; echo up; while :; do sleep 0.01; done"


class Shell:
    """A shell that says what it gets."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(["sh", "-c", SAYS], stdout=subprocess.PIPE, text=True)
        self.pidfd = os.pidfd_open(self.process.pid)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "up\n"

    def fileno(self) -> int:
        return self.pidfd

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def close(self) -> str:
        said, _ = self.process.communicate()
        os.close(self.pidfd)
        return said


def test_signals_go_on_to_the_process_also_those_from_before_it_was_there(no_leak: None) -> None:
    with Attachment() as attachment:
        os.kill(os.getpid(), signal.SIGUSR1)
        shell = Shell()
        timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGTERM])
        timer.start()
        attachment.follow(shell)
        timer.join()
    assert shell.close() == "usr1\nterm\n"


def test_it_ends_with_the_process(no_leak: None) -> None:
    with Attachment() as attachment:
        shell = Shell()
        shell.process.kill()
        attachment.follow(shell)
        assert shell.close() == ""


def test_the_handlers_come_back_and_what_was_ignored_stays_so() -> None:
    def mine(number: int, frame: Any) -> None: ...

    before = signal.signal(signal.SIGUSR1, mine)
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        all_before = [signal.getsignal(number) for number in signal.valid_signals()]
        with Attachment():
            assert signal.getsignal(signal.SIGUSR1) != mine
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGHUP)
        assert [signal.getsignal(number) for number in signal.valid_signals()] == all_before
    finally:
        signal.signal(signal.SIGUSR1, before)
        signal.signal(signal.SIGHUP, hangup)


def test_the_terminal_that_the_process_sends_is_tied_to_ours() -> None:
    script = "echo ready; read word; echo got $word; exit 6"
    words = [sys.executable, "-c", ATTACHED, script]
    status, seen = relay_terminal(words, [(b"ready", b"word\r")])
    assert status == 6
    assert b"got word\r\n" in seen


def test_a_new_size_of_the_window_is_the_processes_too_and_no_signal_of_ours() -> None:
    # The first size may come while the script is already there.
    script = "trap 'stty size | tee /dev/stderr | grep -q 33 && exit 5' WINCH; echo ready; "
    script += "while :; do sleep 0.01; done"
    words = [sys.executable, "-c", ATTACHED, script]
    status, seen = relay_terminal(words, [(b"ready", (33, 77))])
    assert status == 5
    assert b"33 77" in seen


def stream(kind: str, folder: Path) -> tuple[int, int]:
    """A descriptor of this kind, and its other end or a copy."""
    if kind == "terminal":
        master, terminal = pty.openpty()
        return terminal, master
    if kind == "socket":
        ours, theirs = socket.socketpair()
        return ours.detach(), theirs.detach()
    if kind == "pipe":
        return os.pipe()
    if kind == "fifo":
        os.mkfifo(folder / "fifo")
    if kind == "file that has gone":
        return (fd := os.memfd_create("file")), os.dup(fd)
    names = {"null device": "/dev/null", "device": "/dev/zero"}
    flags = os.O_RDONLY if kind == "folder" else os.O_RDWR | os.O_CREAT
    names["folder"] = str(folder)
    fd = os.open(names.get(kind, folder / kind), flags)
    return fd, os.dup(fd)


@pytest.mark.parametrize(
    ("kind", "becomes_pipe"),
    [
        ("file", True),
        ("file that has gone", True),
        ("terminal", True),
        ("device", True),
        ("fifo", True),
        ("pipe", True),
        ("socket", True),
        ("null device", False),
        ("folder", False),  # it is refused later
    ],
)
def test_each_stream_but_the_null_device_becomes_a_pipe(
    tmp_path: Path, no_leak: None, kind: str, becomes_pipe: bool
) -> None:
    fd, other = stream(kind, tmp_path)
    null = os.open(os.devnull, os.O_RDWR)
    with Attachment() as attachment:
        given = attachment.open_streams((fd, null, null))
        assert (given[0] != fd) == becomes_pipe
        assert given[1:] == (null, null)
        if becomes_pipe:
            assert os.readlink(f"/proc/self/fd/{given[0]}").startswith("pipe:")
    for one in (fd, other, null):
        os.close(one)


def test_output_and_errors_become_one_pipe_only_if_they_are_one_file(tmp_path: Path) -> None:
    with (tmp_path / "one").open("w") as one, (tmp_path / "two").open("w") as two:
        copy = os.dup(one.fileno())
        with Attachment() as attachment:
            _, output, errors = attachment.open_streams((0, one.fileno(), copy))
            assert output == errors
        with Attachment() as attachment:
            _, output, errors = attachment.open_streams((0, one.fileno(), two.fileno()))
            assert output != errors
        os.close(copy)
