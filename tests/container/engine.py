"""An engine's own place: network, mounts and /run of its own, so that nothing of it stays."""

import os
import pty
import select
import shlex
import signal
import subprocess
import termios
from pathlib import Path
from typing import Any

import ringlet

from ..until import LONG
from .bundle import OCI


class Place:
    """Where an engine runs, and what it runs containers with: `runtime`, a program's path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = folder / "ringlet-oci"
        source = os.path.dirname(os.path.dirname(ringlet.__file__))
        self.runtime.write_text(
            f'#!/bin/sh\nPYTHONPATH={shlex.quote(source)} exec {shlex.join(OCI)} "$@"\n'
        )
        self.runtime.chmod(0o755)
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", "mount -t tmpfs none /run; echo; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()

    def words(self, *words: str) -> list[str]:
        """The command `words`, in this place."""
        return ["nsenter", "--target", str(self._holder.pid), "--net", "--mount", *words]

    def run(self, *words: str, **more: Any) -> "subprocess.CompletedProcess[str]":
        """Runs the command `words` to its end."""
        more = {"capture_output": True, "text": True, "timeout": 60, "check": False} | more
        return subprocess.run(self.words(*words), **more)

    def close(self) -> None:
        """Gives the place up; nothing may run in it any more."""
        self._holder.communicate(timeout=60)


def relay_terminal(
    words: list[str],
    answer: "list[tuple[bytes, bytes | tuple[int, int]]]",
    size: tuple[int, int] = (24, 80),
) -> tuple[int, bytes]:
    """Runs `words` on a terminal, and for each of `answer` waits for the first, types the second.

    Where the second is a size, the terminal has it from then on. The status, and all that was
    shown. It fails, with what was shown, if nothing more is shown for long.
    """
    pid, master = pty.fork()
    if pid == 0:
        try:
            termios.tcsetwinsize(0, size)
            os.execvp(words[0], words)
        finally:
            os._exit(99)
    seen = b""
    answers = list(answer)
    while True:
        if not select.select([master], [], [], LONG)[0]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(master)
            raise AssertionError(f"{shlex.join(words)} waits, after {seen!r}")
        try:
            data = os.read(master, 4096)
        except OSError:  # the last one on the terminal has ended
            break
        seen += data
        while answers and answers[0][0] in seen:
            _, reply = answers.pop(0)
            if isinstance(reply, bytes):
                os.write(master, reply)
            else:
                termios.tcsetwinsize(master, reply)
    os.close(master)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen
