"""`ringlet nested` as its users have it, with QEMU. A machine takes seconds: few, for much each."""

import hashlib
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

from ringlet.emulated.installed_kernel import find_kernel
from ringlet.linux.initramfs import INIT

from ..cli.command import ENVIRONMENT, RINGLET, Running, refused, run

pytestmark = [
    pytest.mark.nested_host,
    pytest.mark.needs_qemu,
    pytest.mark.needs_nested_kernel,
]

LONG = 120  # seconds: a machine that isn't up by then hangs
NESTED = [*RINGLET, "nested"]


MARK = {"RINGLET_TEST": str(os.getpid())}  # in the environment of our machines, and no others


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test leaves a machine behind."""
    monkeypatch.setitem(ENVIRONMENT, *next(iter(MARK.items())))
    before = set(_emulators())
    yield
    deadline = time.monotonic() + LONG
    while set(_emulators()) - before and time.monotonic() < deadline:
        time.sleep(0.05)  # one killed with its parent takes a moment
    assert not set(_emulators()) - before


def _emulators() -> Iterator[int]:
    """The processes of our machines."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                marked = b"RINGLET_TEST=%d\0" % os.getpid() in (folder / "environ").read_bytes()
            except OSError:
                continue
            if b"virtserialport,chardev=stdin,name=ringlet.stdin" in words and marked:
                yield int(folder.name)


class Done(NamedTuple):
    status: int
    stdout: bytes
    stderr: bytes
    written: Path
    shared: Path


EVERYTHING = r"""
cat                                   # standard input, to its end
exec >&2
echo "pwd=$(pwd)"; echo "odd=$ODD"; echo "user=$(id -u):$(id -g)"; echo "argument=$1"
echo "kvm=$(test -w /dev/kvm && test -d /sys/module/kvm_amd && echo real)"
echo lost > "$2"; echo "reads=$(cat "$2")"; echo kept > "$3/kept"; cat "$3/given"
exit 7
"""
ODD = "spaces, a\nnewline, 100% and \xfc"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("nested, with a comma")
    shared, written = folder / "shared", folder / "written"
    shared.mkdir()
    (shared / "given").write_text("from the host\n")
    data = os.urandom(1 << 20)
    (folder / "data").write_bytes(data)
    command = ["sh", "-c", EVERYTHING, "sh", "an argument", str(written), str(shared)]
    done = subprocess.run(
        [*NESTED, "--share", "shared", "--", *command],
        cwd=folder,
        env=ENVIRONMENT | MARK | {"ODD": ODD},
        input=data,
        capture_output=True,
        check=False,
        timeout=LONG,
    )
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest(), done.stderr
    return Done(done.returncode, done.stdout, done.stderr, written, shared)


def test_streams_are_apart_and_hold_nothing_of_the_machines_own(done: Done) -> None:
    folder = done.written.parent
    assert done.stderr.decode(errors="surrogateescape") == (
        f"pwd={folder}\nodd={ODD}\nuser={os.getuid()}:{os.getgid()}\nargument=an argument\n"
        "kvm=real\nreads=lost\nfrom the host\n"
    )


def test_status_is_the_commands(done: Done) -> None:
    assert done.status == 7


def test_what_it_writes_does_not_reach_the_host_but_for_the_share(done: Done) -> None:
    assert not done.written.exists()
    assert (done.shared / "kept").read_text() == "kept\n"


def test_signals_are_the_commands_and_a_death_by_one_is_a_status() -> None:
    script = "trap 'echo got it' USR1 INT; echo up; while :; do sleep 0.1; done"
    with Running("nested", "--", "sh", "-c", script) as command:
        command.read_until(b"up\n")
        for number in (signal.SIGUSR1, signal.SIGINT):
            command.process.send_signal(number)
            command.read_until(b"got it\n")
        command.process.send_signal(signal.SIGTERM)
        assert command.status() == 128 + signal.SIGTERM


def test_slow_reader_loses_nothing_and_a_reader_that_goes_ends_the_run() -> None:
    size = 8 << 20
    script = f"seq 100000000 | head -c {size}; echo >&2; exec yes"
    with Running("nested", "--", "sh", "-c", script) as command:
        assert command.process.stdout is not None
        digest, got = hashlib.sha256(), 0
        while got < size:
            data = command.process.stdout.read(min(50_000, size - got))
            assert data
            digest.update(data)
            got += len(data)
            time.sleep(0.002)
        expected = "".join(f"{n}\n" for n in range(1, 1_200_000)).encode()[:size]
        assert digest.digest() == hashlib.sha256(expected).digest()
        command.complain(b"\n")
        command.process.stdout.close()
        assert command.status() == 128 + signal.SIGPIPE


def test_a_terminal_is_the_commands_and_is_given_back() -> None:
    script = (
        "sleep 1000 & trap 'stty size; kill $!' WINCH; stty size; wait $!; "
        'read line; echo "[$line]"; read line; exit 5'
    )
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    termios.tcsetwinsize(slave, (33, 77))
    with subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, *NESTED, "--", "bash", "-c", script],
        **dict.fromkeys(("stdin", "stdout", "stderr"), slave),
        env=ENVIRONMENT,
        start_new_session=True,
    ) as process:
        try:
            progress = _shown(master, b"33 77\r\n").split(b"\r")
            assert b"comes up" in progress[0]
            assert not progress[1].strip(b" ")  # the line is erased before the command speaks
            assert progress[2] == b"33 77"
            termios.tcsetwinsize(master, (44, 88))
            _shown(master, b"44 88\r\n")
            os.write(master, b"a line\r")
            _shown(master, b"[a line]\r\n")
            os.write(master, b"\r")
            assert process.wait(LONG) == 5
        finally:
            process.kill()
    assert termios.tcgetattr(slave) == before
    os.close(slave)
    os.close(master)


TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def _shown(master: int, text: bytes) -> bytes:
    shown = b""
    while text not in shown:
        assert select.select([master], [], [], LONG)[0], shown
        shown += os.read(master, 1024)
    return shown


def test_qemu_that_is_killed_is_an_error() -> None:
    with Running("nested", "--", "sh", "-c", "echo up; sleep 1000") as command:
        command.read_until(b"up\n")
        os.kill(next(_emulators()), signal.SIGKILL)
        assert command.status() == 70
        assert command.complain(b"\n") == b"ringlet: the machine ended before its command did\n"


def test_qemu_dies_with_ringlet() -> None:
    with Running("nested", "--", "sleep", "1000") as command:
        while not list(_emulators()):
            time.sleep(0.01)
        command.process.kill()
        command.process.wait(LONG)


def test_timeout_and_signals_end_a_machine_that_is_not_up() -> None:
    done = run("nested", "--timeout", "0.5", "--", "true")
    assert (done.returncode, done.stdout) == (124, "")
    assert "stopped the machine, which wasn't up yet, after 0.5 seconds" in done.stderr
    with Running("nested", "--", "true") as command:
        while not list(_emulators()):
            time.sleep(0.01)
        command.process.terminate()
        assert command.status() == 128 + signal.SIGTERM


def test_command_that_is_not_there_is_127() -> None:
    done = run("nested", "--", "/nosuch/command")
    assert done.returncode == 127
    assert "/nosuch/command: No such file" in done.stderr


def test_what_is_no_kernel_is_qemus_to_say(tmp_path: Path) -> None:
    junk = tmp_path / "vmlinuz"
    junk.write_bytes(b"no kernel" * 1000)
    options = ["--kernel", junk, "--modules", find_kernel().modules]
    assert refused(run("nested", *options, "--", "true")).startswith("QEMU ended: ")


# All is imported first: another user may not be able to read this checkout, or Python.
AS_NOBODY = """
import ctypes, lzma, os, sys
import ringlet.cli.group, ringlet.cli.nested, ringlet.host.settings, ringlet.emulated.session
from ringlet.cli import run
from ringlet.linux import initramfs
initramfs.INIT = sys.argv.pop(1)
os.setgroups([1234]); os.setgid(65534); os.setuid(65534)
raise SystemExit(run(sys.argv[1:]))
"""


@pytest.mark.needs_root
def test_another_user_is_that_user_in_there_and_may_use_kvm() -> None:
    with TemporaryDirectory(prefix="ringlet-nested-") as name:
        folder = Path(name)  # that of pytest is this user's alone
        kernel = find_kernel()
        shutil.copyfile(kernel.vmlinuz, folder / "vmlinuz")
        shutil.copytree(kernel.modules, folder / "modules")
        shutil.copy(INIT, folder / "init")
        (folder / "shared").mkdir()
        os.chown(folder / "shared", 65534, 65534)
        folder.chmod(0o755)
        script = "id; test -w /dev/kvm && echo may use KVM; touch shared/mine"
        done = subprocess.run(
            [
                *(sys.executable, "-c", AS_NOBODY, folder / "init", "nested"),
                *("--kernel", folder / "vmlinuz", "--modules", folder / "modules"),
                *("--share", "shared", "--", "sh", "-c", script),
            ],
            cwd=folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONG,
        )
        identity, *rest = done.stdout.splitlines()
        assert identity.startswith("uid=65534(")
        assert identity.endswith("groups=65534(nogroup),1234")
        assert rest == ["may use KVM"]
        assert (folder / "shared" / "mine").owner() == "nobody"
