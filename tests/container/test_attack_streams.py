"""What a container's process does to files, terminals, pipes and sockets that are its streams.

Each attack is tried in every way that waits for the process. `handed_over` is such a way without
the defence: the process gets the streams themselves.
"""

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .bundle import OCI, Bundle
from .engine import relay_terminal
from .rootfs import make_rootfs

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]

RINGLET = [sys.executable, "-c", "from ringlet.cli import main; main()"]
HANDED_OVER = """
from ringlet.container import attachment
attachment.needs_pipe = lambda fd: False
from ringlet.oci.main import main; main()
"""


class Way:
    """A way to run a script as the container's root, and wait for its end."""

    def __init__(self, name: str, bundle: Bundle) -> None:
        self.name = name
        self.bundle = bundle
        self.oci = OCI
        if name == "ringlet run":
            self.rootfs = make_rootfs(bundle.path / "of-run")
        elif name == "exec":
            bundle.write("while :; do sleep 0.01; done")
            null = subprocess.DEVNULL
            words = ("run", "--detach", "--bundle", str(bundle.path), "one")
            assert bundle.oci(*words, stdout=null, stderr=null).returncode == 0

    def words(self, script: str) -> list[str]:
        oci = [*self.oci, "--root", str(self.bundle.root)]
        if self.name == "ringlet run":
            return [*RINGLET, "run", "--no-tty", str(self.rootfs), "--", "sh", "-c", script]
        if self.name == "exec":
            return [*oci, "exec", "one", "sh", "-c", script]
        self.bundle.write(script)
        return [*oci, "run", "--bundle", str(self.bundle.path), "one"]

    def run(self, script: str, **more: Any) -> "subprocess.CompletedProcess[str]":
        more = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True} | more
        return subprocess.run(self.words(script), timeout=60, check=False, **more)


@pytest.fixture(params=("run", "exec", "ringlet run"))
def way(request: pytest.FixtureRequest, bundle: Bundle) -> Way:
    return Way(request.param, bundle)


@pytest.fixture(params=("run", "exec"))
def handed_over(request: pytest.FixtureRequest, bundle: Bundle) -> Way:
    way = Way(request.param, bundle)
    way.oci = [sys.executable, "-c", HANDED_OVER]
    return way


def mode_after(way: Way, output: Path) -> int:
    """The mode of its output file, which the script tries to make a setuid program."""
    with output.open("w") as stdout:
        done = way.run("busybox chmod 4755 /proc/self/fd/1; exit 3", stdout=stdout)
    assert done.returncode == 3, done.stderr
    return stat.S_IMODE(output.stat().st_mode)


def test_the_mode_of_an_output_file_stays(way: Way, tmp_path: Path) -> None:
    assert mode_after(way, tmp_path / "output") == 0o644


def test_the_mode_of_a_file_that_is_handed_over_changes(handed_over: Way, tmp_path: Path) -> None:
    assert mode_after(handed_over, tmp_path / "output") == 0o4755


def files_after(way: Way, folder: Path) -> tuple[str, str]:
    """A log and an input file, when the script has opened both again to write to them."""
    log, read = folder / "log", folder / "read"
    for path, text in ((log, "before\n"), (read, "input\n")):
        path.write_text(text)
        path.chmod(0o666)
    with log.open("a") as stdout, read.open() as stdin:
        script = ": > /proc/self/fd/1; : > /proc/self/fd/0; echo after"
        assert way.run(script, stdin=stdin, stdout=stdout).returncode == 0
    return log.read_text(), read.read_text()


def test_a_log_is_not_cut_short_and_input_not_changed(way: Way, tmp_path: Path) -> None:
    assert files_after(way, tmp_path) == ("before\nafter\n", "input\n")


def test_what_is_handed_over_is_cut_short(handed_over: Way, tmp_path: Path) -> None:
    assert files_after(handed_over, tmp_path) == ("after\n", "")


TERMINALS = "for fd in 0 1 2; do readlink /proc/self/fd/$fd; done; stty -echo <&1; exit 5"


def test_of_a_terminal_it_has_no_descriptor(way: Way) -> None:
    status, seen = relay_terminal(way.words(TERMINALS), [])
    assert status == 5, seen
    assert seen.count(b"pipe:[") == 3, seen


def test_a_terminal_that_is_handed_over_is_its_own_to_set(handed_over: Way) -> None:
    status, seen = relay_terminal(handed_over.words(TERMINALS), [])
    assert status == 5, seen
    assert seen.count(b"/dev/pts/") == 3, seen


def reached_by_socket(way: Way) -> "subprocess.CompletedProcess[str]":
    """What root with CAP_SYS_PTRACE prints of the process at the other end of its input."""
    sets = way.bundle.config["process"]["capabilities"]
    for name in ("bounding", "effective", "permitted"):
        sets[name] = ["CAP_SYS_PTRACE"]
    way.bundle.config["linux"].pop("seccomp", None)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        return way.run("readlink /proc/self/fd/0; peer", stdin=theirs, stdout=subprocess.PIPE)


@pytest.fixture
def peer(bundle: Bundle, tmp_path: Path) -> None:
    """The attacker's program, in each root. It takes gcc."""
    flags = ["-O1", "-static", "-Wall", "-Wextra", "-Werror"]
    source = Path(__file__).parent / "peer.c"
    program = bundle.rootfs / "bin/peer"
    subprocess.run(["gcc", *flags, source, "-o", program], check=True)


@pytest.mark.needs_gcc
@pytest.mark.usefixtures("peer")
@pytest.mark.parametrize("name", ["run", "exec"])
def test_by_a_socket_it_reaches_no_process_of_the_host(name: str, bundle: Bundle) -> None:
    done = reached_by_socket(Way(name, bundle))
    assert "reached" not in done.stdout
    assert "pipe:[" in done.stdout
    assert "Socket operation on non-socket" in done.stderr


@pytest.mark.needs_gcc
@pytest.mark.usefixtures("peer")
def test_by_a_socket_that_is_handed_over_it_reaches_the_callers_files(bundle: Bundle) -> None:
    way = Way("run", bundle)
    way.oci = [sys.executable, "-c", HANDED_OVER]
    done = reached_by_socket(way)
    assert "socket:[" in done.stdout
    assert "reached /" in done.stdout


def test_a_socket_goes_through_both_ways(way: Way) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            words = way.words("echo ready; read word; echo got $word; cat; echo end; exit 6")
            process = subprocess.Popen(words, stdin=theirs, stdout=theirs)
        with ours.makefile("r") as lines:
            assert lines.readline() == "ready\n"
            ours.sendall(b"word\n")
            assert lines.readline() == "got word\n"
            ours.sendall(b"x" * 100000 + b"\n")
            assert len(lines.readline()) == 100001
            ours.shutdown(socket.SHUT_WR)
            assert lines.readline() == "end\n"
            assert process.wait(60) == 6


def injected(way: Way) -> bytes:
    """What the reader of a pipe gets, when the script writes to the pipe, which is its input."""
    source, sink = os.pipe()
    try:
        os.write(sink, b"first\n")
        done = way.run("read word; echo injected > /proc/self/fd/0", stdin=source)
        assert done.returncode == 0, done.stderr
        os.set_blocking(source, False)
        os.close(sink)
        sink = -1
        return os.read(source, 100)
    finally:
        for end in (source, sink):
            if end >= 0:
                os.close(end)


def test_it_writes_nothing_to_the_pipe_that_it_reads(way: Way) -> None:
    assert injected(way) == b""


def test_to_a_pipe_that_is_handed_over_it_writes(handed_over: Way) -> None:
    assert b"injected" in injected(handed_over)


def stolen(way: Way) -> tuple[bytes, bytes]:
    """What the script read of a pipe that is its output, and what is left of it for its reader."""
    source, sink = os.pipe()
    try:
        os.write(sink, b"another program's\n")
        script = "exec 3< /proc/self/fd/1; timeout 1 head -n 1 <&3 >&2; exit 0"
        done = way.run(script, stdout=sink)
        os.close(sink)
        sink = -1
        return done.stderr.encode(), os.read(source, 100)
    finally:
        for end in (source, sink):
            if end >= 0:
                os.close(end)


def test_it_reads_nothing_of_what_others_write_to_its_output(way: Way) -> None:
    assert stolen(way)[1] == b"another program's\n"


def test_of_a_pipe_that_is_handed_over_it_takes_what_others_write(handed_over: Way) -> None:
    assert stolen(handed_over) == (b"another program's\n", b"")


def test_input_output_and_status_go_through(way: Way, tmp_path: Path) -> None:
    (tmp_path / "read").write_text("".join(f"{number}\n" for number in range(50000)))
    with (tmp_path / "output").open("w") as stdout, (tmp_path / "read").open() as stdin:
        done = way.run("cat; echo why >&2; exit 7", stdin=stdin, stdout=stdout)
    assert (done.returncode, done.stderr) == (7, "why\n")
    assert (tmp_path / "output").read_text() == (tmp_path / "read").read_text()


def test_output_and_errors_in_one_file_keep_their_order(way: Way, tmp_path: Path) -> None:
    with (tmp_path / "output").open("w") as both:
        way.run("i=0; while [ $((i+=1)) -le 200 ]; do echo $i; echo $i >&2; done",
                stdout=both, stderr=both)  # fmt: skip
    lines = [int(line) for line in (tmp_path / "output").read_text().split()]
    assert lines == [number for number in range(1, 201) for _ in range(2)]


def test_typed_input_and_its_end_reach_it(way: Way) -> None:
    words = way.words("echo ready; read word; echo got $word; cat; echo end; exit 6")
    status, seen = relay_terminal(words, [(b"ready", b"word\r"), (b"got word", b"\x04")])
    assert status == 6, seen
    assert b"end" in seen


def test_an_interrupt_that_is_typed_reaches_it(way: Way) -> None:
    words = way.words("trap 'echo caught; exit 8' INT; echo ready; while :; do sleep 0.01; done")
    status, seen = relay_terminal(words, [(b"ready", b"\x03")])
    assert status == 8, seen
    assert b"caught" in seen


def test_it_hears_that_the_reader_of_its_output_has_gone(way: Way, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with subprocess.Popen(["head", "-n", "1", tmp_path / "fifo"], stdout=subprocess.PIPE) as head:
        with (tmp_path / "fifo").open("w") as stdout:
            done = way.run("while echo line; do :; done", stdout=stdout)
        assert head.stdout is not None
        assert head.stdout.read() == b"line\n"
    # No signal ends process 1 that it doesn't handle: it sees an error instead.
    assert (done.returncode, done.stderr) in (
        (128 + signal.SIGPIPE, ""),
        (0, "sh: write error: Broken pipe\n"),
    )


def test_output_that_is_lost_on_a_full_disk_is_told(way: Way) -> None:
    with open("/dev/full", "w") as full:
        done = way.run("echo line; exit 0", stdout=full)
    assert done.returncode != 0
    assert "output of the command is lost: No space left on device" in done.stderr


def test_what_a_command_leaves_running_does_not_hold_exec(bundle: Bundle, tmp_path: Path) -> None:
    way = Way("exec", bundle)
    with (tmp_path / "output").open("w") as stdout:
        done = way.run("sleep 1000 & echo done", stdout=stdout, stderr=stdout)
    assert done.returncode == 0
    assert (tmp_path / "output").read_text() == "done\n"


def test_only_streams_that_are_moved_take_modules(bundle: Bundle, tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    program = "import atexit, sys\n"
    program += f"atexit.register(lambda: print(*sys.modules, file=open({str(modules)!r}, 'w')))\n"
    program += "from ringlet.oci.main import run; sys.exit(run(sys.argv[1:]))"
    way = Way("run", bundle)
    way.oci = [sys.executable, "-c", program]
    moved = {"ringlet.container.streams", "ringlet.host.relay"}
    null = subprocess.DEVNULL
    for stdout, loaded in ((null, set[str]()), (subprocess.PIPE, moved)):
        assert way.run("true", stdout=stdout, stderr=null).returncode == 0
        names = set(modules.read_text().split())
        assert "ringlet.container.attachment" in names
        assert names & moved == loaded
