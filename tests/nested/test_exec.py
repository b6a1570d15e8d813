"""`ringlet boot vmlinuz --exec`: a command in a stock kernel's guest, as if it ran here."""

import json
import os
import random
import re
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from ringlet.linux.command import LinuxCommand, run
from ringlet.linux.guest import LinuxGuest

from ..cli.command import ENVIRONMENT, RINGLET, Running
from ..cli.console import BOOT, Console, consoles

LONG = 180  # seconds, on a machine that is emulated and busy


def execute(
    kernel: Path, command: str, *options: str, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*RINGLET, "boot", kernel, "--exec", command, *options],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=LONG,
        env=ENVIRONMENT,
    )


# Its streams.


def test_bytes_go_in_and_out_unchanged_and_the_end_of_input_arrives(cloud_kernel: Path) -> None:
    escapes = b"\x10\x04", b"\x10\x10", b"\x10", b"\x04", b"\x00", b"\xff", b"\x03\x11\x13\r\n"
    data = b"".join(left + right for left in escapes for right in escapes)
    data += bytes(range(256)) + random.Random(1).randbytes(12 << 10) + b"\x10"
    result = execute(cloud_kernel, "cat; echo end >&2; exit 1", stdin=data)
    assert result.stdout == data
    assert (result.stderr, result.returncode) == (b"end\n", 1)


def test_output_and_errors_come_apart_and_whole(cloud_kernel: Path) -> None:
    result = execute(cloud_kernel, "(seq 1 4000; echo $HOME) & seq 1 4000 >&2; wait; exit 255")
    numbers = "".join(f"{number}\n" for number in range(1, 4001)).encode()
    assert result.stdout == numbers + b"/root\n"
    assert (result.stderr, result.returncode) == (numbers, 255)


def test_input_may_be_left_unread(cloud_kernel: Path) -> None:
    result = execute(cloud_kernel, "head -c 1 | wc -c", stdin=b"x" * (16 << 10))
    assert (result.stdout, result.stderr, result.returncode) == (b"1\n", b"", 0)


def test_input_that_never_ends_is_not_waited_for(cloud_kernel: Path) -> None:
    with Running("boot", cloud_kernel, "--exec", "read line; echo $line; exit 5") as command:
        command.write(b"what is asked for\n")
        assert command.read_until(b"\n") == b"what is asked for\n"
        assert command.status() == 5


def test_a_closed_standard_input_is_an_empty_one(cloud_kernel: Path) -> None:
    closed = ["sh", "-c", 'exec "$@" <&-', "sh"]
    command = [*closed, *RINGLET, "boot", str(cloud_kernel), "--exec", "wc -c; exit 8"]
    result = subprocess.run(
        command, capture_output=True, check=False, timeout=LONG, env=ENVIRONMENT
    )
    assert (result.stdout, result.stderr, result.returncode) == (b"0\n", b"", 8)


def test_a_reader_that_goes_ends_it_with_141(cloud_kernel: Path) -> None:
    with Running("boot", cloud_kernel, "--exec", "yes") as command:
        command.read_until(b"y\n")
        assert command.process.stdout is not None
        command.process.stdout.close()
        assert command.status() == 141


# Its status.


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("exit 0", 0),
        ("exec /dev/null", 126),
        ("no-such-command", 127),
        ("kill -TERM $$", 128 + signal.SIGTERM),
        ("kill -KILL $$", 128 + signal.SIGKILL),
    ],
)
def test_its_status_is_what_a_shell_says(cloud_kernel: Path, command: str, status: int) -> None:
    done = run(cloud_kernel, command, timeout=LONG)
    assert (done.reason, done.status, done.stdout) == ("exit", status, b"")


def test_a_signal_to_ringlet_ends_it_and_leaves_nothing(
    cloud_kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "TMPDIR", str(tmp_path))
    arguments = ("boot", cloud_kernel, "--exec", "echo here; sleep 1000")
    with Running(*arguments, cwd=tmp_path) as command:
        command.read_until(b"here\n")
        command.process.terminate()
        assert command.status() == 128 + signal.SIGTERM
        for pipe in (command.process.stdout, command.process.stderr):
            assert pipe is not None
            assert pipe.read() == b""
    assert list(tmp_path.iterdir()) == []


# What is told of it.


def test_verbose_shows_the_kernels_log_beside_the_commands_output(cloud_kernel: Path) -> None:
    result = execute(cloud_kernel, "echo out; exit 6", "--verbose", "--cpus", "2")
    assert (result.stdout, result.returncode) == (b"out\n", 6)
    assert b"Linux version " in result.stderr
    assert b"smp: Brought up 1 node, 2 CPUs" in result.stderr


def test_a_bad_end_shows_the_kernels_last_words(cloud_kernel: Path) -> None:
    result = execute(cloud_kernel, "echo out; echo c >/proc/sysrq-trigger")
    assert (result.stdout, result.returncode) == (b"out\n", 70)
    *log, told, hint = result.stderr.splitlines()
    assert told == b"ringlet: the guest's kernel panicked: sysrq triggered crash"
    assert hint.startswith(b"   hint: ")
    assert any(b"Kernel panic - not syncing" in line for line in log)
    assert b"Linux version" not in result.stderr, "it was quiet"


def test_json_is_alone_on_standard_output(cloud_kernel: Path) -> None:
    result = execute(cloud_kernel, "echo out; echo err >&2; poweroff -f", "--json")
    report = json.loads(result.stdout)
    assert report["exit"] == {"reason": "no-status", "status": 70}
    assert result.returncode == 70
    assert b"out\n" in result.stderr
    assert b"err\n" in result.stderr
    assert b"ringlet: the guest ended before its command did" in result.stderr


# On a terminal.


@pytest.fixture
def console() -> Iterator[Callable[..., Console]]:
    with consoles() as make:
        yield make


SIZED = "import termios; termios.tcsetwinsize(0, (33, 99))\n" + BOOT
ON_A_TERMINAL = """
tty; stty size; echo "$TERM"
read line; echo "<$line>"
trap 'echo interrupted; exit 9' INT
echo go; sleep 1000
"""


def test_on_a_terminal_the_command_has_one(
    cloud_kernel: Path, console: Callable[..., Console], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "TERM", "vt100")
    made = console(SIZED, "boot", str(cloud_kernel), "--exec", ON_A_TERMINAL)
    assert made.shown(b"vt100").split() == [b"/dev/pts/0", b"33", b"99", b"vt100"]
    assert made.is_raw()
    assert not made.mode()[1] & termios.OPOST, "the guest's own terminal processes output"
    made.type(b"line\r")
    made.shown(b"<line>\r\ngo\r\n")
    made.type(b"\x03")
    made.shown(b"interrupted")
    assert made.ended() == 9


def test_ctrl_a_x_quits_and_gives_the_terminal_back(
    cloud_kernel: Path, console: Callable[..., Console]
) -> None:
    made = console(BOOT, "boot", str(cloud_kernel), "--exec", "echo go; cat")
    made.shown(b"go")
    made.type(b"\x01x")
    assert made.ended() == 130


def test_a_terminal_for_input_alone_is_left_as_it_is(
    cloud_kernel: Path, console: Callable[..., Console], tmp_path: Path
) -> None:
    output = tmp_path / "output"
    redirected = f"import os; os.dup2(os.open({str(output)!r}, os.O_CREAT | os.O_WRONLY), 1)\n"
    command = "read line; echo ready >&2; echo $line; cat; exit 4"
    made = console(redirected + BOOT, "boot", str(cloud_kernel), "--exec", command)
    made.type(b"first\n")
    made.shown(b"ready")
    assert made.mode() == made.cooked
    made.type(b"second\n\x04")
    assert made.ended() == 4
    assert output.read_bytes() == b"first\nsecond\n"


# From a program.


@pytest.fixture
def guide() -> dict[str, Any]:
    """What the program of docs/virtio.md defines."""
    text = (Path(__file__).parents[2] / "docs" / "virtio.md").read_text()
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0], names)
    return names


def pipe() -> tuple[BinaryIO, BinaryIO]:
    reader, writer = os.pipe()
    return os.fdopen(reader, "rb"), os.fdopen(writer, "wb")


def test_a_program_talks_with_a_command(cloud_kernel: Path, held: type[Any]) -> None:
    before = held()
    stdin, to_guest = pipe()
    from_guest, stdout = pipe()
    errors_of_guest, stderr = pipe()
    stdio = stdin.fileno(), stdout.fileno(), stderr.fileno()
    command = "cat; echo err >&2; exit 7"
    with LinuxCommand(LinuxGuest(cloud_kernel), command, stdio=stdio, timeout=LONG) as machine:
        machine.start()
        to_guest.write(b"\x10in\n")
        to_guest.flush()
        assert from_guest.readline() == b"\x10in\n"
        to_guest.close()
        result = machine.wait()
    assert result is not None
    for file in (stdin, stdout, stderr):
        file.close()
    with from_guest, errors_of_guest:
        assert (from_guest.read(), errors_of_guest.read()) == (b"", b"err\n")
    assert (result.reason, result.status) == ("exit", 7)
    assert held().descriptors == before.descriptors


def test_entropy_of_the_host_is_there(cloud_kernel: Path) -> None:
    command = "cat /sys/class/misc/hw_random/rng_current; head -c 64 /dev/hwrng"
    done = run(cloud_kernel, command, entropy=True, timeout=LONG)
    name, _, data = done.stdout.partition(b"\n")
    assert (done.status, name, len(data)) == (0, b"virtio_rng.0", 64)
    assert len(set(data)) > 16  # of 256 values


def test_a_device_of_a_program_has_its_driver(cloud_kernel: Path, guide: dict[str, Any]) -> None:
    command = "cat /sys/class/misc/hw_random/rng_current; head -c 64 /dev/hwrng"
    done = run(cloud_kernel, command, virtio=[guide["Entropy"]()], timeout=LONG)
    name, _, data = done.stdout.partition(b"\n")
    assert (done.status, name) == (0, b"virtio_rng.0")
    assert len(data) == 64
    assert len(set(data)) > 16  # of 256 values
