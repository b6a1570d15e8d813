"""The command line as its users have it: a process of its own."""

import fcntl
import os
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ringlet

from ..until import LONG, until

PIPE_SIZE = 65536

# The same ringlet as the tests', installed or not.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(ringlet.__file__).parent.parent)}
SCRIPT = Path(sys.executable).with_name("ringlet")
CODE = "from ringlet.cli import main; main()"
RINGLET = [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-c", CODE]

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def _default_signals() -> None:
    """A test run in the background ignores some of these, and so would its children."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_DFL)


def run(
    *arguments: str | Path, before: Sequence[str] = (), **options: Any
) -> subprocess.CompletedProcess[str]:
    """`before ringlet ARGUMENTS`, to its end. Options are those of `subprocess.run`."""
    options = {"stdin": subprocess.DEVNULL, "env": ENVIRONMENT, "timeout": LONG, **options}
    command = [*before, *RINGLET, *arguments]
    return subprocess.run(command, capture_output=True, check=False, encoding="utf-8", **options)


# What a mount namespace of its own makes of /dev/kvm: nothing, another file, or root's alone.
NO_KVM = "mount -t tmpfs none /dev"
NOT_KVM = "mount --bind /dev/null /dev/kvm"
KVM_OF_ROOT = "mount -t tmpfs none /dev; mknod -m 600 /dev/kvm c 10 232"


def with_mount(mount: str) -> list[str]:
    """The start of a command for which, alone, `mount` has been done."""
    return ["unshare", "--mount", "sh", "-ec", f'{mount}; exec "$@"', "sh"]


# All is imported first: another user may not be able to read this checkout.
AS_NOBODY = """
import os, sys
import ringlet.cli.doctor, ringlet.cli.foreground, ringlet.cli.group, ringlet.kvm.ahead
ringlet.cli.doctor.examine()
from ringlet.cli import run
os.setgroups([]); os.setgid(65534); os.setuid(65534)
raise SystemExit(run(sys.argv[1:]))
"""


def run_as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`ringlet ARGUMENTS` as a user who may not open /dev/kvm."""
    command = [*with_mount(KVM_OF_ROOT), sys.executable, "-c", AS_NOBODY, *arguments]
    return subprocess.run(
        command,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        encoding="utf-8",
        timeout=LONG,
    )


class Running:
    """`ringlet ARGUMENTS` under way, with pipes; a context manager that kills it at the end."""

    def __init__(self, *arguments: str | Path, **options: Any) -> None:
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            [*RINGLET, *arguments],
            bufsize=0,
            preexec_fn=_default_signals,
            **({"env": ENVIRONMENT} | pipes | options),
        )

    def read_until(self, end: bytes) -> bytes:
        """What it writes to standard output up to and with `end`."""
        return self._read_until(self.process.stdout, end)

    def complain(self, end: bytes) -> bytes:
        """What it writes to standard error up to and with `end`."""
        return self._read_until(self.process.stderr, end)

    def _read_until(self, pipe: Any, end: bytes) -> bytes:
        data = b""
        while not data.endswith(end):
            assert select.select([pipe], [], [], LONG)[0], f"it says {data!r}"
            byte = pipe.read(1)
            assert byte, f"it ended after {data!r}"
            data += byte
        return data

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def status(self) -> int:
        """Its status, negative for a signal that killed it."""
        return self.process.wait(LONG)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def without_reader(*arguments: str) -> tuple[int, bytes]:
    """The status of a command whose output nobody reads, and what it complains of."""
    reader, writer = os.pipe()
    os.close(reader)
    with Running(*arguments, stdout=writer) as command:
        os.close(writer)
        assert command.process.stderr is not None
        return command.status(), command.process.stderr.read()


def refused(result: subprocess.CompletedProcess[str]) -> str:
    """What went wrong, of a command that said so in the two lines that there should be."""
    assert result.returncode == 125, result
    what, hint = result.stderr.split("\n")[:-1]
    assert what.startswith("ringlet: ")
    assert hint.startswith("   hint: ")
    assert len(hint) > len("   hint: ")
    assert result.stdout == ""
    return what.removeprefix("ringlet: ")


def write_image(folder: Path, code: bytes | Sequence[int]) -> Path:
    """A flat image of `code`, and its path."""
    path = folder / "code.bin"
    path.write_bytes(bytes(code))
    return path


def wait_until_full(pipe: Any, size: int = PIPE_SIZE - 4096) -> None:
    """Waits until a pipe that nobody reads holds `size` bytes: all that it can, but for a page.

    Where what is written fits into no page beside other, it can hold less.
    """

    def full() -> bool:
        waiting = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
        return int.from_bytes(waiting, sys.byteorder) > size

    until(full)
