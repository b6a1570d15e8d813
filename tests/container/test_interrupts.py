"""A signal that ends `ringlet-oci` at any line: its own status, no traceback, nothing left."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ringlet.compare.instances.processes import tree

from ..until import until
from .bundle import Bundle
from .test_oci import start

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]

SCRIPT = Path(__file__).parents[2] / "scripts" / "ringlet-oci"

# The script, which sends itself signals at a line of ringlet's, and another soon after. Before the
# script's first statement, a signal is the interpreter's.
AT_A_LINE = """
import _signal, os, sys
_signal.signal(_signal.SIGINT, _signal.SIG_DFL)
number, left = int(sys.argv.pop(1)), int(sys.argv.pop(1))
def on_line(frame, event, argument):
    global left
    left -= event == "line"
    if left in (0, -7) and event == "line":
        os.kill(os.getpid(), number)
    return on_line
def on_exit(status):
    if left > 0:
        os.write(2, b"no signal came")
    exit_(status)
exit_, os._exit = os._exit, on_exit
script = compile(open({script!r}).read(), {script!r}, "exec")
sys.settrace(lambda frame, *_: on_line if "ringlet" in frame.f_code.co_filename else None)
exec(script, {{"__name__": "__main__"}})
"""
COMMANDS = {
    "create": ["create", "--bundle", "BUNDLE", "--pid-file", "BUNDLE/pid", "one"],
    "run": ["run", "--bundle", "BUNDLE", "one"],
    "run detached": ["run", "--detach", "--bundle", "BUNDLE", "one"],
    "exec": ["exec", "one", "sh", "-c", "true"],
}
# Of what has been done by then, when the program itself hadn't the time to end by the signal.
DONE = (0,)


def interrupted(number: int) -> tuple[int, int]:
    """The statuses of a program that signal `number` ended: by default, or after a clean-up."""
    return (-number, 128 + number)


def check(bundle: Bundle, command: str, number: int, status: int, said: str) -> None:
    assert "Traceback" not in said, said
    assert "Exception ignored" not in said, said
    assert status in (*DONE, *interrupted(number)), (status, said)
    if command == "exec":
        assert bundle.state()["status"] == "running"
        return
    if status == 0 and command != "run":
        assert bundle.oci("delete", "--force", "one").returncode == 0
        (bundle.path / "pid").unlink(missing_ok=True)
    assert bundle.left() == [], (status, said)
    assert [path for path in bundle.path.iterdir() if "pid" in path.name] == []
    assert list(bundle.path.glob(".ringlet-*")) == []


def signal_at_lines(bundle: Bundle, command: str, number: int, lines: "range") -> None:
    words = [word.replace("BUNDLE", str(bundle.path)) for word in COMMANDS[command]]
    program = AT_A_LINE.format(script=str(SCRIPT))
    for line in lines:
        with (bundle.path / "said").open("w+") as said:
            at = [sys.executable, "-c", program, str(int(number)), str(line)]
            done = subprocess.run(
                [*at, "--root", str(bundle.root), *words],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
                check=False, timeout=60,
            )  # fmt: skip
            said.seek(0)
            text = said.read()
        if "no signal came" in text:
            assert line > 500
            return
        check(bundle, command, number, done.returncode, f"line {line}: {text}")
    assert lines.stop < 1_000_000, "there were more lines than thought"


def prepare(bundle: Bundle, command: str) -> None:
    if command == "exec":
        start(bundle)
    bundle.write("true")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_signal_at_some_lines_leaves_nothing(bundle: Bundle, command: str) -> None:
    prepare(bundle, command)
    number = random.choice([signal.SIGINT, signal.SIGTERM])
    signal_at_lines(bundle, command, number, range(random.randrange(1, 3000), 999_999, 3000))


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_signal_at_any_line_leaves_nothing(bundle: Bundle, command: str) -> None:
    prepare(bundle, command)
    signal_at_lines(bundle, command, signal.SIGINT, range(random.randrange(1, 40), 999_999, 40))


# It tells when it has begun: what is before is the interpreter's.
AT_A_TIME = """
import _signal, os
_signal.signal(_signal.SIGINT, _signal.SIG_DFL)
os.write(1, b".")
script = compile(open({script!r}).read(), {script!r}, "exec")
exec(script, {{"__name__": "__main__"}})
"""


def signal_at_times(bundle: Bundle, command: str, times: int) -> None:
    words = [word.replace("BUNDLE", str(bundle.path)) for word in COMMANDS[command]]
    program = AT_A_TIME.format(script=str(SCRIPT))
    for _ in range(times):
        number = random.choice([signal.SIGINT, signal.SIGTERM])
        with (bundle.path / "said").open("w+") as said:
            process = subprocess.Popen(
                [sys.executable, "-c", program, "--root", str(bundle.root), *words],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said,
            )  # fmt: skip
            assert process.stdout is not None
            process.stdout.read(1)
            time.sleep(random.random() * 0.08)
            process.send_signal(number)
            process.send_signal(number)
            process.wait(60)
            process.stdout.close()
            said.seek(0)
            check(bundle, command, number, process.returncode, said.read())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_signal_at_some_times_leaves_nothing(bundle: Bundle, command: str) -> None:
    prepare(bundle, command)
    signal_at_times(bundle, command, 5)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_signal_at_many_times_leaves_nothing(bundle: Bundle, command: str) -> None:
    prepare(bundle, command)
    signal_at_times(bundle, command, 100)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:  # it has ended
        return ""


@pytest.mark.parametrize("point", ["createRuntime", "createContainer", "startContainer"])
def test_who_waits_for_a_hook_is_interrupted_at_once(bundle: Bundle, point: str) -> None:
    path = "/bin/sleep" if point == "startContainer" else "/usr/bin/sleep"
    bundle.config["hooks"] = {point: [{"path": path, "args": ["sleep", "1000"]}]}
    bundle.write("true")
    words = ["--root", str(bundle.root), "run", "--bundle", str(bundle.path), "one"]
    with subprocess.Popen([sys.executable, SCRIPT, *words], stderr=subprocess.PIPE) as process:
        until(lambda: "sleep\n" in map(_name, tree([process.pid])))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert bundle.left() == []
