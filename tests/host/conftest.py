"""Real descriptors, and a terminal with a job in it."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def stop_fd() -> Iterator[int]:
    fd = os.eventfd(0)
    yield fd
    os.close(fd)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    fds = os.pipe()
    yield fds
    for fd in fds:
        with contextlib.suppress(OSError):  # a test may have closed it
            os.close(fd)


@pytest.fixture
def no_leak() -> Iterator[None]:
    """Every descriptor that a test opens is closed at its end."""
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


class Console:
    """A terminal whose shell (`shell.py`) runs `console.py` as a job in it."""

    def __init__(self, *arguments: str, background: bool = False) -> None:
        self.master, slave = os.openpty()
        self.cooked = self.mode()
        self._reports, reports = os.pipe()
        commands, self._commands = os.pipe()
        # Descriptor 0 of the shell is its terminal, 3 and 4 are ours to it and its to us.
        self._shell = subprocess.Popen(
            [
                sys.executable,
                HERE / "shell.py",
                os.ttyname(slave),
                str(commands),
                str(reports),
                "background" if background else "foreground",
                HERE / "console.py",
                *arguments,
            ],
            start_new_session=True,
            pass_fds=(commands, reports),
        )
        for fd in (commands, reports):
            os.close(fd)
        self.slave = slave  # or the master would hang up between two openings
        self._lines = os.fdopen(self._reports, "rb", buffering=0)
        self.pid = int(self.report().removeprefix("pid "))

    def report(self) -> str:
        """The next line that the shell or the console has to say."""
        line = self._lines.readline().decode().strip()
        assert line, "the console ended with no report"
        return line

    def tell(self, command: str) -> None:
        os.write(self._commands, command.encode() + b"\n")

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def mode(self) -> list[Any]:
        return termios.tcgetattr(self.master)

    @property
    def raw(self) -> bool:
        return not self.mode()[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def shown(self, text: bytes) -> bytes:
        """What the terminal showed, up to and with `text`."""
        data = b""
        while text not in data:
            assert select.select([self.master], [], [], 60)[0], f"the terminal shows {data!r}"
            data += os.read(self.master, 4096)
        return data

    def close(self) -> None:
        os.close(self._commands)  # the shell kills its job and ends
        self._shell.wait()
        self._lines.close()
        os.close(self.slave)
        os.close(self.master)


@pytest.fixture
def console() -> Iterator[Any]:
    """Makes a `Console`; its arguments are the class's."""
    with contextlib.ExitStack() as stack:

        def make(*arguments: str, background: bool = False) -> Console:
            console = Console(*arguments, background=background)
            stack.callback(console.close)
            return console

        yield make
