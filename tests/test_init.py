"""The init of Linux guests: its parser and its relay, as a process without a machine.

The compiler's checks are in it: AddressSanitizer and UndefinedBehaviorSanitizer end it with a
status of 99.
"""

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlet.linux.initramfs import plan_line, shell

from .examples import examples

LONG = 60  # seconds: what hasn't ended by then hangs
CHECKS = {
    "ASAN_OPTIONS": "exitcode=99:detect_leaks=0",
    "UBSAN_OPTIONS": "exitcode=99:halt_on_error=1",
}
SOURCES = Path(__file__).parents[1] / "csrc" / "init"
UART = plan_line("stdio", "uart")
TTY = plan_line("tty", 30, 100)

pytestmark = pytest.mark.needs_gcc


@pytest.fixture(scope="session")
def init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("init") / "init_alone"
    sources = [path for path in SOURCES.glob("*.c") if path.name != "main.c"]
    checks = ["-fsanitize=address,undefined", "-Wall", "-Wextra", "-Werror", "-g"]
    harness = Path(__file__).with_name("init_alone.c")
    command = ["gcc", "-std=gnu11", *checks, "-I", SOURCES, harness, *sources, "-o", program]
    subprocess.run(command, check=True, timeout=LONG)
    return program


def write_plan(folder: Path, lines: Sequence[bytes]) -> Path:
    path = folder / "plan"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def run(
    init: Path, folder: Path, lines: Sequence[bytes], stdin: bytes = b"", **options: Any
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [init, write_plan(folder, lines), "run"],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=LONG,
        env=os.environ | CHECKS,
        **options,
    )


def start(init: Path, folder: Path, lines: Sequence[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [init, write_plan(folder, lines), "run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | CHECKS,
        bufsize=0,
    )


def show(init: Path, plan: bytes) -> subprocess.CompletedProcess[bytes]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(plan)
        file.flush()
        return subprocess.run(
            [init, file.name, "show"],
            capture_output=True,
            check=False,
            timeout=LONG,
            env=os.environ | CHECKS,
        )


# The plan.


def test_every_key_is_understood(init: Path) -> None:
    plan = b"\n".join(
        [
            b"module /modules/a.ko",
            b"module! /modules/b%20c.ko x=1%20y=2",
            b"root9p host",
            b"share work /home/me",
            b"share out /out rw",
            b"hostname guest",
            b"network eth0 10.0.2.15 24 10.0.2.2 10.0.2.3",
            b"env A=1",
            b"env B=two words%0Aand a line",
            b"cwd /home/my files",
            b"user 1000 100 4 24",
            b"arg cat",
            b"arg 100%25",
            b"arg ",
            b"stdio ports",
            b"tty 24 80",
            b"status control",
        ]
    )
    assert show(init, plan).stdout.split(b"\0") == [
        *(b"module=/modules/a.ko", b"parameters="),
        *(b"module!=/modules/b c.ko", b"parameters=x=1 y=2"),
        *(b"root tag=host", b"root disk="),
        *(b"share=work", b"path=/home/me", b"share rw=out", b"path=/out"),
        *(b"hostname=guest", b"network=eth0", b"address=0f02000a/24 0202000a"),
        *(b"resolver=10.0.2.3", b"cwd=/home/my files"),
        *(b"env=A=1", b"env=B=two words\nand a line"),
        *(b"arg=cat", b"arg=100%", b"arg="),
        *(b"user=1 1000 100", b"group=4", b"group=24"),
        *(b"stdio=2", b"status=2", b"tty=1 24 80"),
        b"",
    ]


words = st.binary(max_size=50).map(lambda word: word.replace(b"\0", b""))


@settings(deadline=None, max_examples=examples(50))
@given(arguments=st.lists(words, min_size=1, max_size=5))
def test_arguments_arrive_whatever_bytes_they_are(init: Path, arguments: list[bytes]) -> None:
    plan = b"\n".join(plan_line("arg", argument) for argument in arguments)
    values = show(init, plan).stdout.split(b"\0")
    assert [value[4:] for value in values if value.startswith(b"arg=")] == arguments


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"nothing", b"not a key: nothing"),
        (b" arg x", b"not a key: "),
        (b"arg", b"a value is missing"),
        (b"arg %", b"a wrong escape"),
        (b"arg %0", b"a wrong escape"),
        (b"arg %0g", b"a wrong escape"),
        (b"arg %0a", b"a wrong escape"),
        (b"arg %00", b"a wrong escape"),
        (b"module", b"a word is missing"),
        (b"network eth0", b"a word is missing"),
        (b"network eth0 10.0.2 24", b"not an address: 10.0.2"),
        (b"network eth0 10.0.2.15 33", b"not a number up to 32: 33"),
        (b"network eth0 10.0.2.15 0", b"a prefix of 0"),
        (b"network eth0 10.0.2.15 24 router", b"not an address: router"),
        (b"network eth0 10.0.2.15 24 10.0.2.2 10.0.2.3 more", b"too many words"),
        (b"module a b c", b"too many words for module: c"),
        (b"share tag", b"a word is missing"),
        (b"share tag /path ro", b"not rw: ro"),
        (b"rootdisk", b"a word is missing"),
        (b"root9p host\nrootdisk /dev/vda", b"two roots"),
        (b"user 1", b"a word is missing"),
        (b"user -1 0", b"not a number"),
        (b"user 1 1x", b"not a number"),
        (b"user 0 4294967295", b"not a number"),
        (b"tty 24", b"a word is missing"),
        (b"tty 65536 80", b"not a number"),
        (b"tty 24 80 1", b"too many words"),
        (b"stdio pipes", b"not known: pipes"),
        (b"status control", b"needs `stdio ports`"),
    ],
)
def test_what_is_wrong_in_a_plan_is_said(init: Path, line: bytes, message: bytes) -> None:
    result = show(init, b"arg true\n" + line)
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.startswith(b"ringlet init: plan: ")
    assert message in result.stderr


def test_a_disk_may_be_the_root_and_its_init_the_command(init: Path) -> None:
    values = show(init, b"rootdisk /dev/vda").stdout.split(b"\0")
    assert {b"root tag=", b"root disk=/dev/vda"} < set(values)
    assert not any(value.startswith(b"arg=") for value in values)


def test_a_plan_without_a_command_is_refused(init: Path) -> None:
    assert b"no command" in show(init, b"\n\n").stderr


keys = st.sampled_from([b"arg", b"module", b"module!", b"share", b"user", b"tty", b"env", b"cwd"])
lines = st.tuples(keys, st.binary(max_size=30)).map(lambda pair: b" ".join(pair))


@settings(deadline=None, max_examples=examples(100))
@given(plan=st.one_of(st.binary(max_size=200), st.lists(lines).map(b"\n".join)))
def test_a_damaged_plan_is_refused_or_understood(init: Path, plan: bytes) -> None:
    result = show(init, plan)
    assert result.returncode in (0, 1), result.stderr
    assert (result.returncode == 1) == result.stderr.startswith(b"ringlet init: ")


# The command.


def test_streams_and_status_are_the_commands(init: Path, tmp_path: Path) -> None:
    result = run(init, tmp_path, shell("cat; echo oops >&2; exit 7"), b"in\0\xff\x10\x04put")
    assert (result.returncode, result.stderr) == (7, b"oops\n")
    assert result.stdout == b"in\0\xff\x10\x04put"


def test_a_death_by_signal_is_128_and_its_number(init: Path, tmp_path: Path) -> None:
    assert run(init, tmp_path, shell("kill -9 $$")).returncode == 128 + signal.SIGKILL


def test_what_isnt_found_or_cant_be_run_has_a_shells_status(init: Path, tmp_path: Path) -> None:
    missing = run(init, tmp_path, [plan_line("arg", "no-such-command")])
    assert missing.returncode == 127
    assert missing.stderr == b"ringlet: no-such-command: No such file or directory\n"
    assert run(init, tmp_path, [plan_line("arg", tmp_path)]).returncode == 126


def test_the_environment_is_the_plans(init: Path, tmp_path: Path) -> None:
    lines = [plan_line("env", "A=b c"), plan_line("arg", "env")]
    names = run(init, tmp_path, lines).stdout.splitlines()
    assert sorted(name.partition(b"=")[0] for name in names) == [b"A", b"PATH"]
    assert b"A=b c" in names


def test_the_commands_folder_is_the_plans(init: Path, tmp_path: Path) -> None:
    result = run(init, tmp_path, [plan_line("cwd", tmp_path), plan_line("arg", "pwd")])
    assert result.stdout == bytes(tmp_path) + b"\n"


def test_a_folder_that_isnt_there_is_no_status_of_the_command(init: Path, tmp_path: Path) -> None:
    result = run(init, tmp_path, [plan_line("cwd", "/no/such"), plan_line("arg", "pwd")])
    assert result.stderr == b"ringlet init: the folder /no/such: No such file or directory\n"


@pytest.mark.needs_root
def test_a_user_has_its_groups_and_can_open_its_streams(init: Path, tmp_path: Path) -> None:
    lines = [plan_line("user", 1234, 2345, 10, 20), plan_line("cwd", "/")]
    script = "id -u; id -G; echo to a name > /dev/stderr"
    result = run(init, tmp_path, [*lines, *shell(script)])
    assert result.stdout == b"1234\n2345 10 20\n"
    assert result.stderr == b"to a name\n"


# The relay.


def test_megabytes_pass_both_ways_at_once(init: Path, tmp_path: Path) -> None:
    data = os.urandom(5 << 20)
    assert run(init, tmp_path, [plan_line("arg", "cat")], data).stdout == data


def test_all_that_was_written_before_the_end_arrives(init: Path, tmp_path: Path) -> None:
    script = "head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2"
    result = run(init, tmp_path, shell(script))
    assert (len(result.stdout), len(result.stderr)) == (60000, 60000)


def test_a_command_that_doesnt_read_its_input_just_ends(init: Path, tmp_path: Path) -> None:
    assert run(init, tmp_path, shell("exec <&-; sleep 0.1"), b"x" * 1_000_000).returncode == 0


def test_a_process_that_goes_on_with_the_streams_is_not_waited_for(
    init: Path, tmp_path: Path
) -> None:
    with start(init, tmp_path, shell("echo mine; sleep 1000 & echo $!")) as process:
        assert process.stdout is not None
        mine, pid = process.stdout.readline(), int(process.stdout.readline())
        assert (mine, process.wait(LONG)) == (b"mine\n", 0)
    os.kill(pid, signal.SIGKILL)


def test_a_process_that_writes_forever_doesnt_hold_up_the_end(init: Path, tmp_path: Path) -> None:
    result = run(init, tmp_path, shell("yes & sleep 0.1; exit 3"))
    assert result.returncode == 3


def test_who_reads_no_more_ends_the_command_like_a_pipe(init: Path, tmp_path: Path) -> None:
    with start(init, tmp_path, shell("exec yes")) as process:
        assert process.stdout is not None
        process.stdout.read(100)
        process.stdout.close()
        assert process.wait(LONG) == 128 + signal.SIGPIPE


def test_a_signal_goes_to_the_commands_process_group(init: Path, tmp_path: Path) -> None:
    script = "trap 'echo got it; exit 4' USR1; echo set; while :; do sleep 0.01; done"
    with start(init, tmp_path, shell(script)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"set\n"
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.read() == b"got it\n"
        assert process.wait(LONG) == 4


# A serial line.


def stuff(data: bytes) -> bytes:
    return data.replace(b"\x10", b"\x10\x10") + b"\x10\x04"


@settings(deadline=None, max_examples=examples(25))
@given(data=st.binary(max_size=200) | st.text("\x04\x10a", max_size=50).map(str.encode))
def test_a_serial_lines_input_ends_where_it_says_so(init: Path, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = [UART, plan_line("arg", "cat")]
        assert run(init, Path(folder), lines, stuff(data) + b"noise").stdout == data


def test_escapes_may_be_cut_anywhere(init: Path, tmp_path: Path) -> None:
    with start(init, tmp_path, [UART, plan_line("arg", "cat")]) as process:
        assert process.stdin is not None
        for byte in stuff(b"a\x10b\x04c\x10"):
            process.stdin.write(bytes([byte]))
        assert process.communicate(timeout=LONG)[0] == b"a\x10b\x04c\x10"


def test_long_input_of_a_serial_line_arrives(init: Path, tmp_path: Path) -> None:
    data = os.urandom(1 << 20)
    result = run(init, tmp_path, [UART, plan_line("arg", "cat")], stuff(data))
    assert result.stdout == data


# A terminal.


def test_the_command_has_a_terminal_of_that_size(init: Path, tmp_path: Path) -> None:
    script = "stty size; test -t 0 && test -t 1 && test -t 2 && echo hi > /dev/tty; cat"
    result = run(init, tmp_path, [UART, TTY, *shell(script)], b"line\r\x10\x04")
    echoed_and_copied = [b"line", b"line"]
    assert sorted(result.stdout.splitlines()) == [b"30 100", b"hi", *echoed_and_copied]


def test_keys_of_a_terminal_signal_the_command(init: Path, tmp_path: Path) -> None:
    lines = [TTY, *shell("trap 'exit 5' INT; echo set; while :; do sleep 0.01; done")]
    with start(init, tmp_path, lines) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"set\r\n"
        process.stdin.write(b"\x03")
        assert process.wait(LONG) == 5


def test_all_of_a_terminals_output_arrives(init: Path, tmp_path: Path) -> None:
    result = run(init, tmp_path, [TTY, *shell("seq 20000")])
    assert result.stdout.splitlines() == [b"%d" % number for number in range(1, 20001)]


# Control lines.


class Controlled:
    """A plan under way, with a control stream."""

    def __init__(self, init: Path, folder: Path, lines: Sequence[bytes]) -> None:
        plan = [plan_line("stdio", "ports"), plan_line("status", "control"), *lines]
        self.control, its = socket.socketpair()
        self.process = subprocess.Popen(
            [init, write_plan(folder, plan), "run", str(its.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[its.fileno()],
            bufsize=0,
            env=os.environ | CHECKS,
        )
        its.close()
        self.lines = self.control.makefile("rb")

    def send(self, line: str) -> None:
        self.control.sendall(line.encode() + b"\n")

    def __enter__(self) -> "Controlled":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.lines.close()
        self.control.close()


def test_control_lines_tell_of_the_command(init: Path, tmp_path: Path) -> None:
    with Controlled(init, tmp_path, shell("echo output; exit 6")) as running:
        assert running.lines.readline() == b"ready\n"
        assert running.lines.readline() == b"started\n"
        assert running.lines.readline() == b"status 6 7 0\n"
        assert running.process.poll() is None  # the host may still be reading
        running.send("whatever comes now")
        running.control.shutdown(socket.SHUT_RDWR)
        assert running.process.wait(LONG) == 6


def test_a_failure_is_told(init: Path, tmp_path: Path) -> None:
    lines = [plan_line("cwd", "/no\nsuch"), plan_line("arg", "pwd")]
    with Controlled(init, tmp_path, lines) as running:
        assert running.lines.readline() == b"ready\n"
        message = b"failed the folder /no such: No such file or directory\n"
        assert running.lines.readline() == message


@pytest.mark.parametrize("when", ["before", "after"])
def test_input_ends_after_as_many_bytes(init: Path, tmp_path: Path, when: str) -> None:
    with Controlled(init, tmp_path, [plan_line("arg", "cat")]) as running:
        assert running.process.stdin is not None
        assert running.process.stdout is not None
        if when == "before":
            running.send("stdin-end 5")
        running.process.stdin.write(b"12345")
        assert running.process.stdout.read(5) == b"12345"
        if when == "after":
            running.send("stdin-end 5")
        assert running.lines.read(22 + 5) == b"ready\nstarted\nstatus 0 5 0\n"


def test_control_lines_signal_and_resize(init: Path, tmp_path: Path) -> None:
    script = "trap 'stty size' WINCH; trap 'exit 8' TERM; echo set; while :; do sleep 0.01; done"
    with Controlled(init, tmp_path, [TTY, *shell(script)]) as running:
        assert running.process.stdout is not None
        assert running.process.stdout.readline() == b"set\r\n"
        running.send("winsize 40 120")
        assert running.process.stdout.readline() == b"40 120\r\n"
        running.send("nonsense\nsignal 15")
        assert [running.lines.readline() for _ in range(3)][2].startswith(b"status 8 ")


@settings(deadline=None, max_examples=examples(25))
@given(noise=st.binary(max_size=300))
def test_nonsense_on_the_control_stream_does_no_harm(init: Path, noise: bytes) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Controlled(init, Path(folder), [plan_line("arg", "cat")]) as running,
    ):
        assert running.process.stdin is not None
        running.control.sendall(noise)
        running.process.stdin.close()
        assert [running.lines.readline() for _ in range(3)][2] == b"status 0 0 0\n"
