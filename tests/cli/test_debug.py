"""`ringlet debug`: scripts, and a conversation on a terminal."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..until import until_asleep
from .command import Running, refused, run, write_image
from .console import BOOT, Console, consoles

pytestmark = pytest.mark.needs_kvm

CTRL_C, CTRL_D, TAB, UP = b"\x03", b"\x04", b"\t", b"\x1b[A"
PROMPT = b"(ringlet) "


def test_commands_are_done_in_order_and_shown() -> None:
    result = run("debug", "hello", "-x", "break hello.S:17", "-x", "c", "-x", "c")
    assert result.returncode == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == "stopped before the first instruction"
    shown = [line for line in lines if line.startswith("(ringlet) ")]
    assert shown == ["(ringlet) break hello.S:17", "(ringlet) c", "(ringlet) c"]
    assert lines[-2:] == ["guest| Hello, ring 0!", "the run is over: exit-port, status 0"]


def test_a_script_ends_at_the_first_command_that_fails(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("# a lesson\n\nstep 2   # two\nbreak nowhere\nregisters\n")
    result = run("debug", "hello", "--script", script)
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    assert "(ringlet) step 2   # two" in lines
    assert lines[-2].startswith("error: there is no symbol nowhere")
    assert lines[-1].startswith("  hint: ")


def test_commands_come_from_a_pipe_too() -> None:
    result = run("debug", "hello", input="step\nquit\nnonsense\n", stdin=None)
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1] == "(ringlet) quit"
    assert run("debug", "hello", input="nonsense\n", stdin=None).returncode == 1


def test_the_end_of_the_commands_ends_a_guest_that_runs_on() -> None:
    result = run("debug", "spin", "-x", "step 5")
    assert result.returncode == 0


def test_the_guests_output_may_go_to_a_file(tmp_path: Path) -> None:
    output = tmp_path / "serial"
    result = run("debug", "hello", "--serial", output, "-x", "c")
    assert result.returncode == 0
    assert "guest| " not in result.stdout
    assert output.read_bytes() == b"Hello, ring 0!\n"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["hello", "--serial", "stdio"], "--serial stdio isn't for a debugger"),
        (
            ["hello", "--script", "/nowhere"],
            "the script /nowhere can't be read: No such file or directory",
        ),
        (["hello", "--script", "/dev/zero"], "the script /dev/zero"),
        (["nonsense"], "there is no image nonsense"),
        (["hello", "--gdb", "1", "-x", "c"], "--gdb takes no commands"),
        (["hello", "--no-wait"], "--no-wait goes with --gdb"),
        (["hello", "--cpus", "0"], "a guest with no vCPU"),
    ],
)
def test_what_cant_be_done_is_refused(arguments: list[str], what: str) -> None:
    assert what in refused(run("debug", *arguments))


def test_source_files_come_from_the_folder_that_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "hello"
    folder.mkdir()
    (folder / "hello.S").write_text("\n" * 11 + "my own cld\x1b[31m\n")
    result = run("debug", "hello", "--source", tmp_path, "-x", "list")
    assert "    12  my own cld\\x1b[31m" in result.stdout
    result = run("debug", "hello", "--source", tmp_path / "hello" / "none", "-x", "list")
    assert result.returncode == 125
    (folder / "hello.S").unlink()
    result = run("debug", "hello", "--source", tmp_path, "-x", "list")
    assert result.returncode == 1
    assert "there is no such file here" in result.stdout


def test_a_signal_ends_it_while_it_waits_for_a_pipe() -> None:
    with Running("debug", "hello") as running:
        running.read_until(b"stopped before the first instruction\n")
        running.write(b"step 2\n")
        running.read_until(b"changed: rdx 0x0 -> 0x3fa\n")
        running.process.send_signal(signal.SIGTERM)
        assert running.status() == 128 + signal.SIGTERM


def test_bytes_that_are_no_text_are_answered() -> None:
    with Running("debug", "hello") as running:
        running.write(b"break \xff\xfe\x00\x1b\n")
        running.read_until(b"hint: ")
        assert running.status() == 1


def test_without_an_image_it_says_so() -> None:
    assert refused(run("debug"))


def test_a_closed_output_ends_it(tmp_path: Path) -> None:
    with Running("debug", "hello") as running:
        running.read_until(b"stopped before the first instruction\n")
        assert running.process.stdout is not None
        running.process.stdout.close()
        running.write(b"registers\nregisters\n")
        assert running.status() == 141


@pytest.fixture
def console() -> Iterator[Callable[..., Console]]:
    with consoles() as make:
        yield make


@pytest.fixture
def spin(console: Callable[..., Console]) -> Console:
    made = console(BOOT, "debug", "spin")
    made.shown(PROMPT)
    until_asleep(made.pid)  # Python's readline notices a signal once it waits for a key
    return made


def test_on_a_terminal_commands_are_completed_and_remembered(spin: Console) -> None:
    spin.type(b"regis" + TAB + b"\n")
    assert b"rip 0010" in spin.shown(PROMPT)
    spin.type(b"break ma" + TAB + b"\n")
    assert b"breakpoint 1 at 0x" in spin.shown(PROMPT)
    spin.type(b"delete\n")
    spin.shown(PROMPT)
    spin.type(UP + UP + b"\n")
    assert b"breakpoint 2 at 0x" in spin.shown(PROMPT)
    spin.type(CTRL_D)
    assert spin.ended() == 0


def test_ctrl_c_stops_the_guest_and_gives_the_prompt(spin: Console) -> None:
    for _ in range(2):
        spin.type(b"continue\n")
        spin.shown(b"continue\r\n")
        until_asleep(spin.pid)  # the guest runs by then
        spin.type(CTRL_C)
        text = spin.shown(PROMPT)
        assert b"interrupted" in text
        assert b"=> 0x" in text
    spin.type(b"quit\n")
    assert spin.ended() == 0


def test_ctrl_c_at_the_prompt_gives_a_new_line(spin: Console) -> None:
    spin.type(b"nonsense")
    spin.shown(b"nonsense")
    until_asleep(spin.pid)
    spin.type(CTRL_C)
    assert b"error" not in spin.shown(b"\r\n" + PROMPT)
    spin.type(b"quit\n")
    assert spin.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_gives_the_terminal_back(spin: Console, number: int) -> None:
    os.kill(spin.pid, number)
    assert spin.ended() == 128 + number


def test_a_signal_ends_it_while_the_guest_runs(spin: Console) -> None:
    spin.type(b"continue\n")
    spin.shown(b"continue\r\n")
    until_asleep(spin.pid)
    os.kill(spin.pid, signal.SIGTERM)
    assert spin.ended() == 128 + signal.SIGTERM


def test_a_guest_of_bytes_that_are_nothing_is_debugged(tmp_path: Path) -> None:
    image = write_image(tmp_path, os.urandom(512))
    result = run(
        *("debug", image, "--timeout", "2"),
        *("-x", "registers", "-x", "disassemble", "-x", "backtrace", "-x", "step", "-x", "c"),
    )
    assert result.returncode in (0, 1)
    assert "Traceback" not in result.stderr
