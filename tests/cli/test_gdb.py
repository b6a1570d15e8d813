"""`ringlet boot --gdb`: real GDB attaches as the command says."""

import re
import shlex
import socket
import subprocess
import time
from pathlib import Path

import pytest

from .command import LONG, Running, run, write_image

pytestmark = pytest.mark.needs_kvm


def said(boot: Running) -> str:
    """The line that ringlet says first."""
    return boot.complain(b"\n").decode().rstrip()


def attach(line: str, *commands: str) -> str:
    """What GDB prints, called as the line of ringlet says."""
    words = shlex.split(line.split(": ", 2)[2])
    assert words[0] == "gdb"
    words[1:1] = ["-q", "-nx", "-batch"]
    for command in commands:
        words += ["-ex", command]
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, timeout=LONG, check=False
    )
    return done.stdout.decode()


@pytest.mark.needs_gdb
def test_the_guest_waits_and_ends_with_its_status() -> None:
    with Running("boot", "hello", "--gdb", "0") as boot:
        line = said(boot)
        assert re.fullmatch(
            r"ringlet: the guest waits for GDB: gdb \S*hello\.debug -ex 'target remote :\d+'", line
        )
        output = attach(line, "stepi", "continue")
        assert "pvh_start () at hello/hello.S" in output
        assert "exited normally" in output
        assert boot.status() == 0
        assert boot.read_until(b"\n") == b"Hello, ring 0!\n"


@pytest.mark.needs_gdb
def test_a_guest_that_runs_is_attached_to_and_killed(tmp_path: Path) -> None:
    path = tmp_path / "gdb"
    with Running("boot", "spin", "--gdb", path, "--no-wait") as boot:
        line = said(boot)
        assert line.startswith("ringlet: the guest runs, and GDB may attach: gdb ")
        assert "killed]" in attach(line, "kill")
        assert boot.status() == 137
    assert not path.exists()


@pytest.mark.parametrize("where", ["99999", "/nowhere/at/all", ""])
def test_a_place_that_cant_be_had_is_one_line_and_a_hint(where: str) -> None:
    done = run("boot", "hello", "--gdb", where)
    assert done.returncode == 125
    assert len(done.stderr.splitlines()) == 2
    assert "hint: name " in done.stderr


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("boot", "hello", "--gdb", str(taken.getsockname()[1]))
    assert done.returncode == 125
    assert "Address already in use" in done.stderr


def test_no_wait_goes_with_gdb() -> None:
    done = run("boot", "hello", "--no-wait")
    assert (done.returncode, "--gdb" in done.stderr) == (125, True)


def test_trace_and_gdb_dont_go_together() -> None:
    done = run("boot", "hello", "--gdb", "0", "--trace")
    assert (done.returncode, "don't go together" in done.stderr) == (125, True)


def test_a_guest_that_waits_doesnt_run_into_its_timeout(tmp_path: Path) -> None:
    path = tmp_path / "gdb"
    with Running("boot", "spin", "--gdb", path, "--timeout", "0.3") as boot:
        said(boot)
        time.sleep(1)
        assert boot.process.poll() is None
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"$D#44")
            assert client.recv(100).startswith(b"+")
        assert boot.status() == 124


def test_a_signal_ends_a_guest_that_waits_for_gdb(tmp_path: Path) -> None:
    path = tmp_path / "gdb"
    image = write_image(tmp_path, b"\xeb\xfe")
    with Running("boot", image, "--protocol", "flat", "--gdb", path) as boot:
        line = said(boot)
        assert line.endswith(f"gdb -ex 'target remote {path}'")
        boot.process.terminate()
        assert boot.status() == 128 + 15
    assert not path.exists()
