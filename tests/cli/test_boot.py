"""`ringlet boot`: statuses, signals, options, and the report for programs."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..machine_code import (
    FLOOD,
    HALT,
    MOV_DX_PORT,
    READ_AND_EXIT,
    READ_FOR_EVER,
    RESET,
    SPIN,
    exit_with,
)
from .command import (
    CODE,
    ENVIRONMENT,
    LONG,
    RINGLET,
    Running,
    run,
    wait_until_full,
    write_image,
)

pytestmark = pytest.mark.needs_kvm

HELLO = "Hello, ring 0!\n"
ENDS = b"Ctrl-D ends.\n"
STEPS = ["vm_created", "image_loaded", "first_exit", "first_output", "end"]


# How it ends.


def test_hello_is_shown_and_ends_with_0() -> None:
    result = run("boot", "hello")
    assert (result.stdout, result.stderr, result.returncode) == (HELLO, "", 0)


def test_where_a_file_and_a_guest_have_the_name_it_says_that_the_file_is_booted(
    tmp_path: Path,
) -> None:
    (tmp_path / "hello").write_bytes(exit_with(7).ljust(510, b"\0") + b"\x55\xaa")
    done = run("boot", "hello", cwd=tmp_path)
    assert done.returncode == 7
    assert done.stderr.startswith("ringlet: booting the file hello of this folder")


def test_a_folder_with_a_guests_name_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "hello").mkdir()
    done = run("boot", "hello", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, HELLO, "")


@pytest.mark.parametrize(
    ("code", "options", "status"),
    [
        (exit_with(0), [], 0),
        (exit_with(1), [], 1),
        (exit_with(42), [], 42),
        (exit_with(125), [], 125),
        (exit_with(255), [], 255),
        (HALT, [], 0),
        (RESET, [], 0),
        (SPIN, ["--timeout", "0.3"], 124),
    ],
)
def test_the_status_is_how_the_run_ended(
    code: bytes, options: list[str], status: int, tmp_path: Path
) -> None:
    result = run("boot", write_image(tmp_path, code), *options)
    assert result.returncode == status
    assert result.stdout == ""


def test_a_crash_ends_with_70_and_shows_registers_and_the_instruction() -> None:
    result = run("boot", "crash")
    assert result.returncode == 70
    assert result.stdout == "An exception with an empty IDT is a triple fault.\n"
    assert "triple-fault by #UD, invalid opcode, in main" in result.stderr.splitlines()[0]
    assert "`ud2` always raises it" in result.stderr
    assert "has no entry 0x6" in result.stderr
    assert re.search(r"rip 00000000001[0-9a-f]{5} ", result.stderr)
    assert re.search(r"at rip \(main.*\): 0f 0b .*: ud2$", result.stderr, re.MULTILINE)
    assert "Traceback" not in result.stderr


def test_a_timeout_says_so() -> None:
    result = run("boot", "spin", "--timeout", "1")
    assert result.returncode == 124
    assert result.stdout == "Spinning for ever, interrupts off.\n"
    first, hint, *details = result.stderr.splitlines()
    assert first == "ringlet: stopped after 1 seconds"
    assert hint.startswith("   hint: ")
    assert details[0] == "  vCPU 0: running, interrupts off, long mode, 64-bit code, ring 0"
    assert re.fullmatch(r"    at 0x1[0-9a-f]{5}, main.*: jmp 0x1[0-9a-f]{5}", details[1])
    assert details[2] == "    this code is an endless loop: it jumps to itself"
    last = r"    exits: \d+ port.*; the last access: .* to port 0x3f8, com1 THR"
    assert re.fullmatch(last, details[3])
    assert len(details) == 4


def test_a_timeout_says_what_many_vcpus_did_in_few_lines() -> None:
    result = run("boot", "spin", "--timeout", "0.5", "--cpus", "40")
    assert "  vCPU 1 to 39: waiting to be started by another vCPU\n" in result.stderr
    assert len(result.stderr.splitlines()) < 10


def test_sigusr1_shows_what_the_guest_does_and_the_guest_goes_on() -> None:
    with Running("boot", "spin") as command:
        command.read_until(b"off.\n")
        shown = ""
        while "endless loop" not in shown:  # at first it may still be on its way from the print
            command.process.send_signal(signal.SIGUSR1)
            shown = command.complain(b"com1 THR\r\n").decode()
            assert "vCPU 0: running, interrupts off, long mode" in shown
        command.process.send_signal(signal.SIGTERM)
        assert command.status() == 128 + signal.SIGTERM


def test_sigusr1_with_a_closed_standard_error_hurts_nobody() -> None:
    with Running("boot", "echo") as command:
        command.read_until(b"ends.\n")
        assert command.process.stderr is not None
        command.process.stderr.close()
        command.process.send_signal(signal.SIGUSR1)
        command.write(b"a")
        command.read_until(b"a")
        command.write(b"\x04")
        assert command.status() == 0


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"])
def test_a_signal_ends_it_with_128_and_its_number(number: str) -> None:
    signum = signal.Signals[number]
    with Running("boot", "spin") as command:
        command.read_until(b".\n")
        command.process.send_signal(signum)
        assert command.status() == 128 + signum
        assert command.process.stderr is not None
        assert command.process.stderr.read() == b""


def test_sigterm_ends_a_guest_that_waits_for_input() -> None:
    with Running("boot", "echo") as command:
        command.read_until(ENDS)
        command.process.terminate()
        assert command.status() == 143


def test_sigterm_ends_a_flood_that_nobody_reads() -> None:
    with Running("boot", "flood") as command:
        wait_until_full(command.process.stdout)
        command.process.terminate()
        assert command.status() == 143


@pytest.mark.parametrize("option", ["--log-unclaimed", "--json"])
def test_sigterm_ends_it_while_nobody_reads_standard_error(option: str, tmp_path: Path) -> None:
    code = READ_FOR_EVER if option == "--log-unclaimed" else FLOOD
    with Running("boot", write_image(tmp_path, code), option) as command:
        wait_until_full(command.process.stderr)
        command.process.terminate()
        assert command.status() == 143


def test_signals_again_and_again_make_no_difference() -> None:
    with Running("boot", "spin") as command:
        command.read_until(b".\n")
        while command.process.poll() is None:
            command.process.terminate()
            select.select([], [], [], 0.001)
        # The last one may come when the run is over, and is the process's own end.
        assert command.status() in (143, -signal.SIGTERM)
        assert command.process.stderr is not None
        assert command.process.stderr.read() == b""


def test_a_closed_output_pipe_ends_it_with_141() -> None:
    with Running("boot", "flood") as command:
        command.read_until(b"\n")
        assert command.process.stdout is not None
        command.process.stdout.close()
        assert command.status() == 141
        assert command.process.stderr is not None
        lines = command.process.stderr.read().splitlines()
    assert [line.split()[0] for line in lines] == [b"ringlet:", b"hint:"]


def test_what_the_parent_ignores_stays_ignored() -> None:
    code = f"import signal; signal.signal({int(signal.SIGHUP)}, signal.SIG_IGN)\n"
    command = [sys.executable, "-c", code + CODE, "boot", "echo"]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith(ENDS)
        process.send_signal(signal.SIGHUP)
        output, _ = process.communicate(b"still here\x04", LONG)
    assert output == b"still here"
    assert process.returncode == 0


# Input.


def test_input_reaches_the_guest_unchanged() -> None:
    with Running("boot", "echo") as command:
        command.read_until(ENDS)
        for text in (b"\x01x\x03 no terminal, so no escapes\n", b"\0\xff\r\n"):
            command.write(text)
            assert command.read_until(b"\n") == text
        command.write(b"\x04")
        assert command.status() == 0


@pytest.mark.parametrize("kind", ["/dev/null", "pipe"])
def test_the_end_of_input_neither_ends_the_guest_nor_keeps_ringlet_busy(kind: str) -> None:
    stdin = subprocess.PIPE if kind == "pipe" else subprocess.DEVNULL
    with Running("boot", "echo", stdin=stdin) as command:
        command.read_until(ENDS)
        if command.process.stdin is not None:
            command.process.stdin.close()
        before = processor_seconds(command.process.pid)
        select.select([], [], [], 0.5)
        assert command.process.poll() is None
        assert processor_seconds(command.process.pid) - before < 0.25
        command.process.terminate()
        assert command.status() == 143


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_closed_standard_input_is_no_obstacle() -> None:
    result = run("boot", "hello", before=["sh", "-c", 'exec "$@" <&-', "sh"])
    assert (result.stdout, result.returncode) == (HELLO, 0)


# Options.


def test_serial_to_a_file(tmp_path: Path) -> None:
    result = run("boot", "hello", "--serial", tmp_path / "output")
    assert (result.stdout, result.returncode) == ("", 0)
    assert (tmp_path / "output").read_text() == HELLO


def test_serial_none_shows_nothing() -> None:
    result = run("boot", "hello", "--serial", "none")
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


def test_serial_pty_says_where_it_is() -> None:
    with Running("boot", "echo", "--serial", "pty") as command:
        path = command.complain(b"\n").decode().split()[-1]
        with open(os.open(path, os.O_RDWR | os.O_NOCTTY), "r+b", buffering=0) as terminal:
            assert terminal.readline().endswith(ENDS)
            terminal.write(b"over the line\n")
            assert terminal.readline() == b"over the line\n"
            terminal.write(b"\x04")
            assert command.status() == 0


def test_modules_reach_the_guest_the_initrd_first(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).write_text(f"this is {name}")
    result = run(
        *("boot", "longmode", "--cmdline", "a command line"),
        *("--module", "two,its arguments", "--initrd", "one", "--module", "three"),
        cwd=tmp_path,
    )
    assert "command line: a command line\n" in result.stdout
    shown = re.findall(r" bytes: (this is .*)", result.stdout)
    assert shown == ["this is one", "this is two", "this is three"]


def test_a_command_line_need_not_be_text() -> None:
    result = subprocess.run(
        [*RINGLET, "boot", "longmode", "--cmdline", b"\xff\xfe"],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LONG,
        check=True,
    )
    assert b"command line: \xff\xfe\n" in result.stdout


def test_protocol_and_load_address_are_for_code_that_says_neither(tmp_path: Path) -> None:
    image = tmp_path / "code"
    # mov al, cs:[0x8000]; out 0xf4, al
    image.write_bytes(b"\x2e\xa0\x00\x80\xe6\xf4")
    result = run("boot", image, "--protocol", "flat", "--load-address", "0x8000")
    assert result.returncode == 0x2E


def test_memory_is_what_is_asked_for() -> None:
    result = run("boot", "longmode", "--memory", "16M")
    assert f"{15 << 20} bytes: RAM" in result.stdout


def test_log_unclaimed_names_each_access(tmp_path: Path) -> None:
    image = write_image(tmp_path, MOV_DX_PORT + b"\xee" + READ_AND_EXIT)
    result = run("boot", image, "--log-unclaimed")
    assert result.returncode == 0xFF
    assert [line.split(": ", 1)[1] for line in result.stderr.splitlines()] == [
        "write of 1 at unclaimed port 0x700: 0x0",
        "read of 1 at unclaimed port 0x700",
    ]


def test_unclaimed_accesses_are_told_at_the_end_with_the_first_one(tmp_path: Path) -> None:
    image = write_image(tmp_path, MOV_DX_PORT + b"\xb0\x2a\xee" + READ_AND_EXIT)
    result = run("boot", image)
    assert result.stderr == (
        "ringlet: no device claims 1 read and 1 write of the guest; the first: "
        "a write of 1 byte (0x2a) to port 0x700, by `out dx, al` at 0x7c05\n"
    )
    report = json.loads(run("boot", image, "--json").stdout)
    assert report["unclaimed"] == {
        "reads": 1,
        "writes": 1,
        "first": {
            "kind": "write",
            "port": "0x700",
            "size": 1,
            "value": "0x2a",
            "vcpu": 0,
            "rip": "0x7c05",
            "function": "",
            "instruction": "out dx, al",
        },
    }


# --config.


def test_options_win_over_the_configuration_file(tmp_path: Path) -> None:
    path = tmp_path / "vm.toml"
    path.write_text('image = "longmode"\nmemory = "32M"\ncmdline = "of the file"\n')
    of_file = run("boot", "--config", path).stdout
    assert "command line: of the file\n" in of_file
    assert f"{31 << 20} bytes: RAM" in of_file
    of_option = run("boot", "--config", path, "--cmdline", "an option", "--memory", "16M").stdout
    assert "command line: an option\n" in of_option
    assert f"{15 << 20} bytes: RAM" in of_option
    assert run("boot", "hello", "--config", path).stdout == HELLO


def test_all_that_a_configuration_file_can_say(tmp_path: Path) -> None:
    (tmp_path / "code").write_bytes(SPIN)
    (tmp_path / "vm.toml").write_text(
        'image = "code"\nmemory = 1048576\nprotocol = "flat"\nload_address = "0x8000"\n'
        'serial = "none"\ntimeout = 0.2\npit = true\n'
    )
    assert run("boot", "--config", tmp_path / "vm.toml").returncode == 124


def test_paths_in_a_configuration_file_start_at_its_folder(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("this is one")
    (tmp_path / "two").write_text("this is two")
    (tmp_path / "vm.toml").write_text(
        'image = "longmode"\ninitrd = "one"\nmodules = ["two,arguments"]\n'
    )
    result = run("boot", "--config", tmp_path / "vm.toml", cwd="/")
    assert re.findall(r" bytes: (this is .*)", result.stdout) == ["this is one", "this is two"]


# --json.


def test_json_is_one_object_and_the_guests_output_is_on_standard_error() -> None:
    result = run("boot", "hello", "--json")
    report = json.loads(result.stdout)
    assert result.stderr == HELLO
    assert result.returncode == 0
    assert set(report) == {"exit", "exits", "timings", "unclaimed"}
    assert report["exit"] == {"reason": "exit-port", "status": 0}
    assert report["exits"]["port"] >= 1
    assert report["unclaimed"] == {"reads": 0, "writes": 0}


def test_json_with_serial_to_a_file_leaves_standard_error_empty(tmp_path: Path) -> None:
    result = run("boot", "hello", "--json", "--serial", tmp_path / "output")
    assert json.loads(result.stdout)["exit"]["status"] == 0
    assert result.stderr == ""
    assert (tmp_path / "output").read_text() == HELLO


def test_timings_are_seconds_in_order_since_ringlets_first_line() -> None:
    before = time.monotonic()
    timings = json.loads(run("boot", "hello", "--json").stdout)["timings"]
    whole = time.monotonic() - before
    assert list(timings) == STEPS
    assert timings["vm_created"] > 0
    assert list(timings.values()) == sorted(timings.values())
    assert timings["end"] < whole


def test_timings_can_start_at_an_outer_clock() -> None:
    # The clock starts with the host, which may have started just now.
    before = min(1000 * 10**9, time.monotonic_ns() // 2)
    start = str(time.monotonic_ns() - before)
    result = run("boot", "hello", "--json", env=ENVIRONMENT | {"RINGLET_START_NS": start})
    timings = json.loads(result.stdout)["timings"]
    assert all(0 < timings[step] - before / 1e9 < LONG for step in STEPS)


def test_a_step_that_never_came_is_null() -> None:
    report = json.loads(run("boot", "probe", "--json").stdout)
    assert report["timings"]["first_output"] is None


@pytest.mark.parametrize(
    ("code", "reason", "status"),
    [
        (exit_with(9), "exit-port", 9),
        (HALT, "halt", 0),
        (RESET, "reset", 0),
        (SPIN, "timeout", 124),
    ],
)
def test_json_tells_the_reason_of_the_end(
    code: bytes, reason: str, status: int, tmp_path: Path
) -> None:
    seconds = "0.3" if code == SPIN else "60"
    result = run("boot", write_image(tmp_path, code), "--json", "--timeout", seconds)
    assert json.loads(result.stdout)["exit"] == {"reason": reason, "status": status}
    assert result.returncode == status


def test_json_of_a_signal() -> None:
    with Running("boot", "spin", "--json") as command:
        command.complain(b".\n")
        command.process.terminate()
        assert command.status() == 143
        assert command.process.stdout is not None
        report = json.loads(command.process.stdout.read())
    assert report["exit"] == {"reason": "signal", "status": 143}


def test_json_of_a_crash_has_registers_and_the_instruction() -> None:
    result = run("boot", "crash", "--json")
    report = json.loads(result.stdout)
    assert report["exit"] == {"reason": "triple-fault", "status": 70}
    assert report["crash"]["instruction"] == "ud2"
    assert report["crash"]["code"].startswith("0f0b")
    assert int(report["crash"]["registers"]["rip"], 16) == int(report["crash"]["linear_rip"], 16)


def test_json_of_an_error_is_one_object_too() -> None:
    result = run("boot", "/nonexistent", "--json")
    report = json.loads(result.stdout)
    assert report["exit"] == {"reason": "error", "status": 125}
    assert "/nonexistent" in report["error"]
    assert result.returncode == 125
    assert len(result.stderr.splitlines()) == 2
