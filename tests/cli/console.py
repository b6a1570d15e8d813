"""A terminal for tests of the command line: a shell on it makes ringlet its job.

tests/host/shell.py is the shell.
"""

import os
import select
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from .command import CODE, ENVIRONMENT, LONG

SHELL = Path(__file__).parent.parent / "host" / "shell.py"
BOOT = "import sys; del sys.argv[-1]\n" + CODE  # the shell's last argument isn't for ringlet


class Console:
    """A terminal in which a shell runs Python with `arguments` as its job."""

    def __init__(self, *arguments: str) -> None:
        self.master, self._slave = os.openpty()
        self.cooked = self.mode()
        reports, to_us = os.pipe()
        to_shell, self._commands = os.pipe()
        place = (os.ttyname(self._slave), str(to_shell), str(to_us), "foreground")
        self._shell = subprocess.Popen(
            [sys.executable, SHELL, *place, *arguments],
            env=ENVIRONMENT,
            start_new_session=True,
            pass_fds=(to_shell, to_us),
        )
        os.close(to_shell)
        os.close(to_us)
        self._reports = os.fdopen(reports)
        self.pid = int(self.report().removeprefix("pid "))

    def report(self) -> str:
        """The next thing that the shell has to say of its job."""
        assert select.select([self._reports], [], [], LONG)[0]
        return self._reports.readline().strip()

    def tell(self, command: str) -> None:
        os.write(self._commands, command.encode() + b"\n")

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def shown(self, text: bytes) -> bytes:
        """What the terminal shows, up to and with `text`."""
        data = b""
        while text not in data:
            assert select.select([self.master], [], [], LONG)[0], f"the terminal shows {data!r}"
            data += os.read(self.master, 1 if data.endswith(text[:-1]) else 1024)
        return data

    def mode(self) -> list[Any]:
        return termios.tcgetattr(self.master)

    def is_raw(self) -> bool:
        return not self.mode()[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def ended(self) -> int:
        """The status of the job, which has ended and given the terminal back as it was."""
        kind, status = self.report().split()
        assert kind == "ended"
        assert self.mode() == self.cooked
        return int(status)

    def close(self) -> None:
        os.close(self._commands)  # the shell kills its job and ends
        self._shell.wait(LONG)
        self._reports.close()
        os.close(self._slave)
        os.close(self.master)


@contextmanager
def consoles() -> Iterator[Callable[..., Console]]:
    """Makes consoles that run Python code, and closes them."""
    with ExitStack() as stack:

        def make(*arguments: str) -> Console:
            made = Console("-c", *arguments)
            stack.callback(made.close)
            return made

        yield make
