"""`ringlet trace`, as its users have it."""

import json
import os
import pty
import re
import time
from pathlib import Path

import pytest

from ringlet.cli import boot, trace

from .command import Running, refused, run, wait_until_full

pytestmark = pytest.mark.needs_kvm

HELLO = "Hello, ring 0!\n"
PAGE = Path(__file__).parents[2] / "docs/trace.md"
LINE = re.compile(r" *\d+\.\d{6} +\d+  (port (read|write)|interrupted)")


def test_the_trace_goes_to_standard_error_and_the_guests_output_to_standard_output() -> None:
    done = run("trace", "hello")
    assert (done.returncode, done.stdout) == (0, HELLO)
    head, *lines = done.stderr.split("\n\n")[0].splitlines()
    assert head.split()[:3] == ["seconds", "vCPU", "exit"]
    assert len(lines) == 19
    assert all(LINE.match(line) for line in lines)
    assert "rep outsb dx, byte ptr [esi]" in done.stderr
    assert "com1 THR" in done.stderr
    assert "19 exits in " in done.stderr


def test_the_page_shows_what_hello_does() -> None:
    block = re.search(
        r"\$ ringlet trace hello .*?cut -c 1-(\d+)\n(.*?)```", PAGE.read_text(), re.DOTALL
    )
    assert block is not None
    width, (output, *lines) = int(block[1]), block[2].splitlines()
    assert output + "\n" == HELLO
    traced = [line[10:width].rstrip() for line in run("trace", "hello").stderr.splitlines()]
    shown = [line[10:] for line in lines if line != "..."]
    assert len(shown) > 5
    assert set(shown) <= set(traced)


def test_boot_has_the_same_trace_as_an_option() -> None:
    done = run("boot", "hello", "--trace")
    assert (done.returncode, done.stdout) == (0, HELLO)
    assert "exit-port STATUS" in done.stderr
    report = run("boot", "hello", "--trace", "--json")
    assert json.loads(report.stdout)["exits"] == {"port": 18, "interrupted": 1}


def test_each_option_of_boot_is_one_of_trace_but_for_the_report() -> None:
    names = {each.name for each in trace.command.params}
    assert {each.name for each in boot.command.params} - names == {"show", "trace"}


def test_the_status_is_the_guests() -> None:
    assert run("trace", "crash", "--summary").returncode == 70
    timeout = run("trace", "spin", "--timeout", "0.3", "--summary")
    assert timeout.returncode == 124
    # What the command says of the end comes behind the trace.
    assert timeout.stderr.index("interrupted") < timeout.stderr.index("stopped after")


def test_json_lines_go_to_a_file() -> None:
    done = run("trace", "hello", "--json", "--count", "3")
    first, _, third, last = map(json.loads, done.stderr.splitlines())
    assert (first["register"], third["value"]) == ("FCR", ord("H"))
    assert last["summary"]["count"] == 19


@pytest.mark.parametrize("format", ["text", "json", "perfetto", "html"])
def test_each_format_goes_to_a_file(tmp_path: Path, format: str) -> None:
    path = tmp_path / "trace"
    path.write_text("what was here")
    done = run("trace", "hello", "--format", format, "--output", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, HELLO, "")
    text = path.read_text()
    assert "THR" in text
    assert "what was here" not in text
    if format == "perfetto":
        assert json.loads(text)["otherData"]["count"] == 19
    if format == "html":
        assert text.startswith("<!DOCTYPE html>")
        assert "Exits of hello" in text


def test_the_summary_alone_has_no_exits() -> None:
    done = run("trace", "hello", "--summary")
    assert not any(LINE.match(line) for line in done.stderr.splitlines())
    assert re.search(r"^com1 +17 ", done.stderr, re.MULTILINE)
    (line,) = run("trace", "hello", "--summary", "--json").stderr.splitlines()
    assert {row["name"] for row in json.loads(line)["summary"]["devices"]} == {"com1", "exit-port"}


def test_filters_are_for_the_trace(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    done = run("trace", "blk", "--disk", disk, "--device", "virtio-block", "--json")
    *lines, _ = map(json.loads, done.stderr.splitlines())
    assert {line["device"] for line in lines} == {"virtio-block"}
    done = run("trace", "hello", "--address", "0x3f8-0x3fc", "--kind", "port", "--json")
    *lines, _ = map(json.loads, done.stderr.splitlines())
    assert {line["register"] for line in lines} == {"FCR", "THR"}
    done = run("trace", "smp", "--cpus", "2", "--vcpu", "1", "--json")
    *lines, _ = map(json.loads, done.stderr.splitlines())
    assert {line["vcpu"] for line in lines} == {1}
    assert "0 exits" in run("trace", "hello", "--time", "100-").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hello", "--device", "com9"], "there is no device 'com9'"),
        (["hello", "--vcpu", "1"], "there is no vCPU 1"),
        (["hello", "--vcpu", "-1"], "--vcpu is at least 0, and not -1"),
        (["hello", "--kind", "prot"], "--kind takes port, "),
        (["hello", "--address", "com1"], "'com1' is not an address"),
        (["hello", "--time", "2"], "'2' is not a period"),
        (["hello", "--count", "0"], "--count is at least 1, and not 0"),
        (["hello", "--buffer", "0"], "--buffer is at least 1, and not 0"),
        (["hello", "--format", "html"], "a trace in the format html is for a file"),
        (["hello", "--format", "perfetto", "--output", "/x", "--summary"], "the format perfetto"),
        (["hello", "--json", "--format", "text"], "--json and --format text"),
        (["hello", "--output", "/"], "can't write /: Is a directory"),
        (["hello", "--output", "/dev/null/x"], "can't write /dev/null/x: Not a directory"),
        (["hallo"], "there is no image hallo"),
        (["hello", "--show"], "there is no option --show"),
        ([], "no image is named"),
    ],
)
def test_a_wrong_argument_is_told_in_two_lines(arguments: list[str], message: str) -> None:
    assert refused(run("trace", *arguments)).startswith(message)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["run", "rootfs", "ls"], "-- run rootfs ls"),
        (["run", "--env", "A=1 2", "rootfs"], "-- run --env 'A=1 2' rootfs"),
        (["--summary", "run", "rootfs", "ls"], "--summary -- run rootfs ls"),
    ],
)
def test_a_container_without_two_dashes_is_a_hint(arguments: list[str], meant: str) -> None:
    done = run("trace", *arguments)
    refused(done)
    hint = done.stderr.splitlines()[1].removeprefix("   hint: ")
    assert hint == f"`ringlet trace {meant}` traces the system calls of a container"


@pytest.mark.parametrize("command", [["boot"], ["trace"], ["debug"], ["debug", "--gdb", "0"]])
def test_without_an_image_the_hint_names_the_command(command: list[str], tmp_path: Path) -> None:
    done = run(*command, cwd=tmp_path)
    assert refused(done) == "no image is named"
    assert f"name one: `ringlet {command[0]} hello`" in done.stderr


def test_a_full_disk_is_told() -> None:
    done = run("trace", "flood", "--output", "/dev/full", "--timeout", "20")
    assert done.returncode == 125
    assert "can't write the trace: No space left on device" in done.stderr


def test_a_reader_that_goes_away_ends_the_run() -> None:
    read, write = os.pipe()
    with Running("trace", "flood", "--json", stderr=write, stdout=-3) as running:
        os.close(write)
        os.read(read, 10)
        os.close(read)
        assert running.status() == 141


def test_a_reader_that_is_too_slow_is_told_what_it_has_missed() -> None:
    with Running("trace", "flood", "--json", "--buffer", "300", "--timeout", "1", stdout=-3) as it:
        wait_until_full(it.process.stderr, 20_000)
        time.sleep(0.5)
        assert it.process.stderr is not None
        lines = [
            json.loads(line) for line in it.process.stderr.read().splitlines() if line[:1] == b"{"
        ]
        assert it.status() == 124
    shown = sum("vcpu" in line for line in lines)
    missing = sum(line.get("missing", 0) for line in lines)
    (last,) = (line["summary"] for line in lines if "summary" in line)
    assert missing == last["missing"] > 0
    assert shown + missing == last["count"]


def test_a_signal_ends_the_run_and_the_trace_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    with Running("trace", "spin", "--json", "--output", path) as running:
        assert running.process.stdout is not None
        while not path.exists() or not path.stat().st_size:
            time.sleep(0.01)
        running.process.terminate()
        assert running.status() == 143
    assert "summary" in json.loads(path.read_bytes().splitlines()[-1])


def test_on_a_terminal_in_raw_mode_lines_begin_at_the_left() -> None:
    main, terminal = pty.openpty()
    with Running("trace", "hello", stdin=terminal, stdout=terminal, stderr=terminal) as running:
        data = b""
        while b"exits in" not in data:
            data += os.read(main, 65536)
        assert running.status() == 0
    os.close(terminal)
    os.close(main)
    assert b"\n" not in data.replace(b"\r\n", b"")
