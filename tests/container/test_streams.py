"""Typed input reaches a container's command only while `ringlet run` is in the foreground."""

import os
import pty
import signal
import sys
from pathlib import Path

import pytest

from .cgroups.inside import eventually
from .rootfs import make_rootfs

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]

RUN = "from ringlet.cli import main; main()"
AS_IT_IS = """
import sys
from ringlet.host.workload import Workload
from ringlet.container.container import Container
with Container(Workload(rootfs=sys.argv[3], command=sys.argv[5:])) as container:
    container.run()
"""
READS = "echo up >&2; head -n 1 <&{}; echo end"


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    return make_rootfs(tmp_path / "rootfs")


class Terminal:
    """A terminal of its own, whose foreground is a process that reads a line; and a job."""

    def __init__(self, words: list[str], output: Path, *, background: bool) -> None:
        self.output = output
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            job = os.fork()
            if job == 0:
                if background:
                    os.setpgid(0, 0)
                os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
                os.execv(words[0], words)
            _, status = os.waitpid(job, os.WUNTRACED)
            if os.WIFSTOPPED(status):
                typed = os.read(0, 100).decode().strip()
                os.write(1, f"stopped by {os.WSTOPSIG(status)}, typed {typed}.".encode())
                os.kill(job, signal.SIGKILL)
                os.waitpid(job, 0)
            os._exit(0)
        self.seen = b""

    def read_until(self, word: bytes) -> None:
        while word not in self.seen:
            try:
                self.seen += os.read(self.master, 1000)
            except OSError:
                pytest.fail(self.seen.decode())

    def end(self) -> str:
        """What the job wrote; all has ended."""
        try:
            while data := os.read(self.master, 1000):
                self.seen += data
        except OSError:
            pass
        os.close(self.master)
        assert os.waitpid(self.pid, 0)[1] == 0
        return self.output.read_text()


def start(rootfs: Path, fd: int, program: str, *, background: bool) -> Terminal:
    words = [sys.executable, "-c", program, "run", "--no-tty", str(rootfs), "--"]
    words += ["sh", "-c", READS.format(fd)]
    terminal = Terminal(words, rootfs.parent / "output", background=background)
    terminal.read_until(b"up")
    return terminal


def test_in_the_foreground_a_command_reads_what_is_typed(rootfs: Path) -> None:
    terminal = start(rootfs, 0, RUN, background=False)
    os.write(terminal.master, b"for the command\n")
    assert terminal.end() == "for the command\nend\n"


def test_of_the_end_of_what_is_typed_a_command_is_told(rootfs: Path) -> None:
    terminal = start(rootfs, 0, RUN, background=False)
    os.write(terminal.master, b"\x04")
    assert terminal.end() == "end\n"


def test_in_the_background_the_kernel_stops_us_and_nothing_is_taken(rootfs: Path) -> None:
    terminal = start(rootfs, 0, RUN, background=True)
    os.write(terminal.master, b"secret\n")
    assert "secret" not in terminal.end()
    assert f"stopped by {int(signal.SIGTTIN)}, typed secret." in terminal.seen.decode()


@pytest.mark.parametrize("fd", [0, 2])
def test_a_container_that_had_the_terminal_itself_would_read_it(rootfs: Path, fd: int) -> None:
    terminal = start(rootfs, fd, AS_IT_IS, background=True)
    os.write(terminal.master, b"secret\n")
    assert eventually(lambda: "end" in terminal.output.read_text())
    assert terminal.end() == "secret\nend\n"


def test_a_terminal_to_write_to_cant_be_read(rootfs: Path) -> None:
    terminal = start(rootfs, 2, RUN, background=True)
    assert terminal.end() == "end\n"
    assert "head: standard input: " in terminal.seen.decode()  # an error, and nothing typed
